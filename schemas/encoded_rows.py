"""What became of the rows of a comparison: those that runs refused, and shares of sets that are not the recipe's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from windtunnel.schemas.results import EncodedSet

ENCODED = "encoded.json"
Shares = Mapping[str, float]


def encoded_of(run: Path) -> list[EncodedSet]:
    """Return what became of the rows that the stages of a run have read, each role once; empty for documents."""
    found: dict[str, list[EncodedSet]] = {}
    for file in [*sorted(run.glob(f"stage*/{ENCODED}")), run / ENCODED]:
        if file.exists():
            parts = [EncodedSet.model_validate(part) for part in json.loads(file.read_bytes())]
            for role in dict.fromkeys(part.role for part in parts):
                found.setdefault(role, [part for part in parts if part.role == role])
    return [part for parts in found.values() for part in parts]


def refused_words(parts: Iterable[EncodedSet]) -> str:
    """Return in words which rows were refused, set by set; empty where none was."""
    words = []
    for role, name in dict.fromkeys((part.role, part.set) for part in parts):
        of_set = [part for part in parts if (part.role, part.set) == (role, name)]
        reasons = Counter[str]()
        for part in of_set:
            reasons.update(part.refused)
        if reasons:
            rows = sum(part.rows for part in of_set)
            what = f"{role.replace('_', ' ').replace('held out', 'held-out')}{f' of {name}' if name else ''}"
            told = ", ".join(f"{reason} {number:,}" for reason, number in reasons.most_common())
            mends = dict.fromkeys(part.mend for part in of_set if part.mend)
            words.append(f"{reasons.total():,} of {rows:,} {what} ({told}{'; ' + '; '.join(mends) if mends else ''})")
    return "; ".join(words)


def missed_share(parts: Sequence[EncodedSet], shares: Mapping[str, Shares], by: str, tolerance: float) -> str:
    """Return in words which set has another share than the recipe gives it, by more than `tolerance`; else empty.

    `shares`: role -> set -> share, which sum to one in a role. `by`: tokens, bytes or rows.
    """
    for role, wanted in shares.items():
        if not any(part.role == role for part in parts):
            continue  # no stage learns from these
        amounts = dict.fromkeys(wanted, 0)
        for part in parts:
            if part.role == role and part.set in amounts:
                amounts[part.set] += {"tokens": part.tokens, "bytes": part.bytes, "rows": part.kept}[by]
        total = sum(amounts.values())
        real = {name: amount / total if total else 0.0 for name, amount in amounts.items()}
        if any(abs(real[name] - share) > tolerance for name, share in wanted.items()):
            least = max(wanted, key=lambda name: wanted[name] - real[name])  # what others have too much, it lacks
            return (
                f"{least} has {100 * real[least]:.1f}% of its {role}, the recipe gives it {100 * wanted[least]:.1f}% "
                f"(tolerance {100 * tolerance:g} points)"
            )
    return ""
