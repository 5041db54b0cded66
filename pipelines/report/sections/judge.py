"""The judge: whether it contradicts itself, what it could not rate, and whether people would agree with it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.judged import Judged, Tally, judged, tally
from windtunnel.pipelines.report.made import Made, Section, shown
from windtunnel.pipelines.report.rated import Aspect, aspects, rated
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import Record

FILE = "calibration.json"
COIN = 0.5


class OfPairs(Record):
    """A judge of win rates."""

    judge: str
    tally: Tally
    consistent: str
    longer_won: str
    findings: list[str]


class OfRatings(Record):
    """A judge of a preference set."""

    name: str
    judges: list[str]
    answers: int
    aspects: list[Aspect]
    facts: list[tuple[str, str]]
    findings: list[str]


class Calibrated(Record):
    """Figures of a judge held against known labels; `planted`: no person gave them, they are right by construction."""

    name: str
    planted: bool
    figures: list[tuple[str, str]]
    findings: list[str]


class Judge(Section):
    """All that is known of the judges."""

    title: ClassVar[str] = "The judge"
    order: ClassVar[int] = 28

    pairs: list[OfPairs]
    ratings: list[OfRatings]
    calibrated: list[Calibrated]
    unreadable: list[str]

    @classmethod
    def of(cls, made: Made) -> Judge | None:
        found = [each for each in judged(made) if each.rows.height]
        by_judge = {name: [each for each in found if each.judge == name] for name in sorted({e.judge for e in found})}
        pairs = [_of_pairs(name, runs) for name, runs in by_judge.items()]
        generated = made.of_kind("generate").items()
        ratings = [each for name, artifact in generated if (each := _of_ratings(name, artifact)) is not None]
        files = [(name, a.path / FILE) for name, a in made.artifacts.items() if a.done and (a.path / FILE).exists()]
        read = {name: _calibrated(name, path) for name, path in files}
        if not (pairs or ratings or read):
            return None
        return cls(
            pairs=pairs,
            ratings=ratings,
            calibrated=[each for each in read.values() if each is not None],
            unreadable=[shown(name, 60) for name, each in read.items() if each is None],
        )


def _of_pairs(name: str, runs: list[Judged]) -> OfPairs:
    found = tally(runs)
    agree = found.judged - found.swapped
    findings = []
    if found.judged and agree / found.judged < COIN:
        share = units.share(found.swapped, found.judged)
        findings.append(f"{share} of its verdicts change when the answers change places: it goes by position.")
    if found.decided and (share := _far_from_half(found.longer_won, found.decided)):
        findings.append(f"Among the pairs that it decided, {share}: it may be judging length.")
    if not found.judged:
        findings.append("It gave no verdict on two different answers: nothing can be said of it.")
    return OfPairs(
        judge=name,
        tally=found,
        consistent=units.share(agree, found.judged),
        longer_won=f"{units.share(found.longer_won, found.decided)} of {found.decided:,}",
        findings=findings,
    )


def _far_from_half(part: int, whole: int) -> str:
    """Return the side that wins more often than a coin would let it (two standard errors), in words; else nothing."""
    if abs(part / whole - COIN) <= 1 / math.sqrt(whole):
        return ""
    longer = part / whole > COIN
    share = units.share(part if longer else whole - part, whole)
    return f"the {'longer' if longer else 'shorter'} answer won {share}"


def _of_ratings(name: str, artifact: Artifact) -> OfRatings | None:
    files = artifact.files("responses")
    if not files or "ratings" not in pl.scan_parquet(files).collect_schema().names():
        return None
    counts = artifact.manifest.counts
    found = aspects(files)
    kind = artifact.manifest.config.get("kind")  # {name: parameters}, or a name alone
    params = next(iter(kind.values()), None) if isinstance(kind, dict) else None
    return OfRatings(
        name=shown(name, 40),
        judges=[shown(judge, 40) for judge in (params or {}).get("judges") or ()],
        answers=int(rated(files).select(pl.len()).collect().item()),
        aspects=found,
        facts=[*_critiques(files), *_books(counts)],
        findings=_rating_findings(found, counts),
    )


def _critiques(files: list[Path]) -> list[tuple[str, str]]:
    """Return how many critiques gave a score, where scores were asked for at all."""
    if "score_status" not in pl.scan_parquet(files).collect_schema().names():
        return []
    table = rated(files).group_by("score_status").len().collect()
    status = dict(table.iter_rows())
    total, absent = sum(status.values()), status.get("not_applicable", 0)
    return [("critiques with a score", units.share(status.get("ok", 0), total))] if absent < total else []


def _books(counts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the generation's books say of the judge."""
    seen, dropped, notes = counts.get("seen") or 0, counts.get("dropped") or {}, counts.get("notes") or {}
    facts = [
        ("prompts without a pair because the orders contradict each other", dropped.get("order_inconsistent")),
        ("because the critiques contradict the ratings", dropped.get("critique_disagrees")),
        ("for ties", dropped.get("tie")),
    ]
    found = [(label, f"{units.count(n)} ({units.share(n, seen)})") for label, n in facts if n]
    if notes.get("scores_disputed"):
        found.append(("critiques asked for again", units.count(notes["scores_disputed"])))
    return found


def _rating_findings(found: list[Aspect], counts: dict[str, Any]) -> list[str]:
    findings = []
    if own := (counts.get("notes") or {}).get("self_judged"):
        share = units.share(own, counts.get("seen") or own)
        findings.append(f"It judged answers of its own model on {share} of the prompts: models favour their own.")
    weak = [a.name.replace("_", " ") for a in found if a.both and a.same / a.both < COIN]
    if weak:
        findings.append(f"Less than half of its ratings stay the same in the other order: {', '.join(weak)}.")
    lost = sum(a.unreadable + a.out_of_range for a in found)
    asked = sum(a.asked for a in found)
    if asked and lost / asked > 0.05:
        findings.append(f"{units.share(lost, asked)} of its ratings could not be read.")
    return findings


def _calibrated(name: str, path: Path) -> Calibrated | None:
    """Return the figures of `judge calibrate --json`; None when the file holds something else."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return None
    if not isinstance(found, dict) or any(_share(found, key) is None for key in ("agreement", "low", "high")):
        return None
    baselines = found.get("baselines") if isinstance(found.get("baselines"), dict) else {}
    chance = {str(key): value for key in baselines or {} if (value := _share(baselines, key)) is not None}
    keys = ("human_ceiling", "kappa", "swap_consistency", "length_preference", "brier", "ece")
    n = found.get("n")
    planted = found.get("planted") is True
    agreement = f"{found['agreement']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
    figures = [("agreement with the labels" if planted else "agreement with people", agreement)]
    figures += [("pairs", units.count(n))] if isinstance(n, int) else []
    figures += [("pairs from", shown(found["pairs"], 100))] if isinstance(found.get("pairs"), str) else []
    figures += [(key.replace("_", " "), f"{v:.3f}" if (v := _share(found, key)) is not None else "–") for key in keys]
    figures += [(f"agreement of “{shown(key, 30)}”", f"{value:.3f}") for key, value in chance.items()]
    said = [shown(each, 300) for each in found.get("findings") or [] if isinstance(each, str)]
    findings = [each[:1].upper() + each[1:] + "." for each in said]
    return Calibrated(name=shown(name, 60), planted=planted, figures=figures, findings=findings)


def _share(found: Any, key: str) -> float | None:
    value = found.get(key)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None
