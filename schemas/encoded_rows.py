"""What became of the rows of a comparison: those that runs refused, and shares of sets that are not the recipe's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from windtunnel.schemas.results import EncodedSet

ENCODED = "encoded.json"
HELD_OUT = "held_out"
BY_LABEL = ("undesirable_answer", "no_label")  # reasons that lie in the label of a row, not in its turns
Shares = Mapping[str, float]


def encoded_of(run: Path) -> list[EncodedSet]:
    """Return what became of the rows that each stage of a run learnt from, and of the held-out rows of the last one.

    Empty for documents. A stage of the same objective as an earlier one is called by its number too.
    """
    learnt: list[EncodedSet] = []
    held_out: dict[str, list[EncodedSet]] = {}
    for number, file in enumerate([*sorted(run.glob(f"stage*/{ENCODED}")), run / ENCODED], start=1):
        if not file.exists():
            continue
        parts = [EncodedSet.model_validate(part) for part in json.loads(file.read_bytes())]
        own = [part for part in parts if not part.role.startswith(HELD_OUT)]
        if {part.stage for part in own} & {part.stage for part in learnt}:
            own = [part.model_copy(update={"stage": f"{part.stage or 'stage'} {number}"}) for part in own]
        learnt += own
        for role in dict.fromkeys(part.role for part in parts if part.role.startswith(HELD_OUT)):
            held_out[role] = [part for part in parts if part.role == role]
    return [*learnt, *(part for parts in held_out.values() for part in parts)]


def refused_words(parts: Iterable[EncodedSet]) -> str:
    """Return in words which rows were refused, set by set; empty where none was.

    The stage is named where a run has several that learn from such rows. Answers that only their label keeps from a
    stage are not told where another stage learns from the set.
    """
    parts = list(parts)
    words = []
    for role, stage, name in dict.fromkeys((part.role, part.stage, part.set) for part in parts):
        of_set = [part for part in parts if (part.role, part.stage, part.set) == (role, stage, name)]
        apart = BY_LABEL if _learnt_elsewhere(parts, of_set[0]) else ()
        reasons = Counter[str]()
        for part in of_set:
            reasons.update({reason: number for reason, number in part.refused.items() if reason not in apart})
        if reasons:
            rows = sum(part.rows for part in of_set)
            what = f"{role.replace('_', ' ').replace('held out', 'held-out')}{f' of {name}' if name else ''}"
            if len({part.stage for part in parts if part.role == role}) > 1:
                what += f" for {stage or 'the first stage'}"
            told = ", ".join(f"{reason} {number:,}" for reason, number in reasons.most_common())
            mends = dict.fromkeys(part.mend for part in of_set if part.mend and part.commonest in reasons)
            words.append(f"{reasons.total():,} of {rows:,} {what} ({told}{'; ' + '; '.join(mends) if mends else ''})")
    return "; ".join(words)


def missed_share(parts: Sequence[EncodedSet], shares: Mapping[str, Shares], by: str, tolerance: float) -> str:
    """Return in words which set has another share than the recipe gives it, by more than `tolerance`; else empty.

    Every stage has shares of its own, of the sets that it reads; a set of which it leaves answers with other labels to
    another stage has none. `shares`: role -> set -> share, which sum to one in a role. `by`: tokens, bytes or rows.
    """
    for role, stage in dict.fromkeys((part.role, part.stage) for part in parts):
        own = [part for part in parts if (part.role, part.stage) == (role, stage)]
        left = {part.set for part in own if part.refused.keys() & {*BY_LABEL} and _learnt_elsewhere(parts, part)}
        read = {part.set for part in own} - left
        wanted = {name: share for name, share in shares.get(role, {}).items() if name in read}
        whole = sum(wanted.values())
        amounts = dict.fromkeys(wanted, 0)
        for part in own:
            if part.set in amounts:
                amounts[part.set] += {"tokens": part.tokens, "bytes": part.bytes, "rows": part.kept}[by]
        total = sum(amounts.values())
        if not total:
            continue  # of prompts no answer is learnt, and nothing that has a share
        lacks = {name: share / whole - amounts[name] / total for name, share in wanted.items()}
        if any(abs(lack) > tolerance for lack in lacks.values()):
            least = max(lacks, key=lambda name: lacks[name])  # what others have too much, it lacks
            given, stages = wanted[least] / whole, {part.stage for part in parts if part.role == role}
            return (
                f"{least} has {100 * (given - lacks[least]):.1f}% of {'its' if len(stages) == 1 else f'the {stage}'} "
                f"{role}, the recipe gives it {100 * given:.1f}% (tolerance {100 * tolerance:g} points)"
            )
    return ""


def _learnt_elsewhere(parts: Iterable[EncodedSet], part: EncodedSet) -> bool:
    """Return whether another stage learns from rows of a part's set."""
    return any(
        each.kept and (each.role, each.set) == (part.role, part.set) and each.stage != part.stage for each in parts
    )
