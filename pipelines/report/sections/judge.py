"""The judge: agreement of its two orders, ratings that it could not give, and agreement with labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.judged import Judged, Tally, judged, tally
from windtunnel.pipelines.report.rated import Aspect, aspects, rated
from windtunnel.pipelines.report.results import Results, Section
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import one_line
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
    """Agreement of a judge with known labels; `planted` labels are right by construction, no person gave them."""

    name: str
    planted: bool
    figures: list[tuple[str, str]]
    findings: list[str]


class Judge(Section):
    """Judges of pairs, of ratings, and their calibration."""

    title: ClassVar[str] = "The judge"
    order: ClassVar[int] = 28

    pairs: list[OfPairs]
    ratings: list[OfRatings]
    calibrated: list[Calibrated]
    unreadable: list[str]

    @classmethod
    def of(cls, results: Results) -> Judge | None:
        by_judge: dict[str, list[Judged]] = {}
        for run in judged(results):
            by_judge.setdefault(run.judge, []).append(run)
        pairs = [_of_pairs(name, runs) for name, runs in sorted(by_judge.items())]
        generated = results.of_kind("generate").items()
        ratings = [block for name, artifact in generated if (block := _of_ratings(name, artifact)) is not None]
        files = [(name, a.path / FILE) for name, a in results.finished.items() if (a.path / FILE).exists()]
        calibrations = {name: _calibrated(name, path) for name, path in files}
        if not (pairs or ratings or calibrations):
            return None
        return cls(
            pairs=pairs,
            ratings=ratings,
            calibrated=[block for block in calibrations.values() if block is not None],
            unreadable=[one_line(name, 60) for name, block in calibrations.items() if block is None],
        )


def _of_pairs(name: str, runs: list[Judged]) -> OfPairs:
    total = tally(runs)
    agree = total.judged - total.swapped
    findings = []
    if total.judged and agree / total.judged < COIN:
        share = units.share(total.swapped, total.judged)
        findings.append(f"{share} of its verdicts change when the answers change places: it goes by position.")
    if total.decided and (share := _far_from_half(total.longer_won, total.decided)):
        findings.append(f"Among the pairs that it decided, {share}: it may be judging length.")
    if not total.judged:
        findings.append("It gave no verdict on two different answers: nothing can be said of it.")
    return OfPairs(
        judge=name,
        tally=total,
        consistent=units.share(agree, total.judged),
        longer_won=f"{units.share(total.longer_won, total.decided)} of {total.decided:,}",
        findings=findings,
    )


def _far_from_half(part: int, whole: int) -> str:
    """Return a phrase on the side that wins more often than chance by two standard errors; else an empty string."""
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
    rows = aspects(files)
    kind = artifact.manifest.config.get("kind")  # {name: parameters}, or a name alone
    params = next(iter(kind.values()), None) if isinstance(kind, dict) else None
    return OfRatings(
        name=one_line(name, 40),
        judges=[one_line(judge, 40) for judge in (params or {}).get("judges") or ()],
        answers=int(rated(files).select(pl.len()).collect().item()),
        aspects=rows,
        facts=[*_critiques(files), *_reasons(counts)],
        findings=_rating_findings(rows, counts),
    )


def _critiques(files: list[Path]) -> list[tuple[str, str]]:
    """Return the share of critiques with a score, where scores were asked for."""
    if "score_status" not in pl.scan_parquet(files).collect_schema().names():
        return []
    table = rated(files).group_by("score_status").len().collect()
    status = dict(table.iter_rows())
    total, absent = sum(status.values()), status.get("not_applicable", 0)
    return [("critiques with a score", units.share(status.get("ok", 0), total))] if absent < total else []


def _reasons(counts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the counts of prompts without a pair by the judge's reason, and of critiques asked for again."""
    seen, dropped, notes = counts.get("seen") or 0, counts.get("dropped") or {}, counts.get("notes") or {}
    facts = [
        ("prompts without a pair because the orders contradict each other", dropped.get("order_inconsistent")),
        ("because the critiques contradict the ratings", dropped.get("critique_disagrees")),
        ("for ties", dropped.get("tie")),
    ]
    figures = [(label, f"{units.count(n)} ({units.share(n, seen)})") for label, n in facts if n]
    if notes.get("scores_disputed"):
        figures.append(("critiques asked for again", units.count(notes["scores_disputed"])))
    return figures


def _rating_findings(rows: list[Aspect], counts: dict[str, Any]) -> list[str]:
    findings = []
    if own := (counts.get("notes") or {}).get("self_judged"):
        share = units.share(own, counts.get("seen") or own)
        findings.append(f"It judged answers of its own model on {share} of the prompts: models favour their own.")
    weak = [a.name.replace("_", " ") for a in rows if a.both and a.same / a.both < COIN]
    if weak:
        findings.append(f"Less than half of its ratings stay the same in the other order: {', '.join(weak)}.")
    lost = sum(a.unreadable + a.out_of_range for a in rows)
    asked = sum(a.asked for a in rows)
    if asked and lost / asked > 0.05:
        findings.append(f"{units.share(lost, asked)} of its ratings could not be read.")
    return findings


def _calibrated(name: str, path: Path) -> Calibrated | None:
    """Return the figures of `judge calibrate --json`; None when the file holds something else."""
    try:
        data = json.loads(path.read_bytes())
    except ValueError:
        return None
    if not isinstance(data, dict) or any(_share(data, key) is None for key in ("agreement", "low", "high")):
        return None
    baselines = data.get("baselines") if isinstance(data.get("baselines"), dict) else {}
    chance = {str(key): value for key in baselines or {} if (value := _share(baselines, key)) is not None}
    keys = ("agreement_without_ties", "human_ceiling", "swap_consistency", "length_preference", "brier", "ece")
    keys += ("label_mass",) if data.get("label_mass") is not None else ()
    n = data.get("n")
    planted = data.get("planted") is True
    agreement = f"{data['agreement']:.3f} [{data['low']:.3f}, {data['high']:.3f}]"
    kappa = data.get("kappa")
    figures = [("kappa", f"{kappa:.3f}")] if isinstance(kappa, int | float) and math.isfinite(kappa) else []
    figures += [("agreement with the labels" if planted else "agreement with people", agreement)]
    figures += [("pairs", units.count(n))] if isinstance(n, int) else []
    figures += [("pairs from", one_line(data["pairs"], 100))] if isinstance(data.get("pairs"), str) else []
    figures += [(key.replace("_", " "), f"{v:.3f}" if (v := _share(data, key)) is not None else "–") for key in keys]
    figures += [(f"agreement of “{one_line(key, 30)}”", f"{value:.3f}") for key, value in chance.items()]
    texts = [one_line(text, 300) for text in data.get("findings") or [] if isinstance(text, str)]
    findings = [text[:1].upper() + text[1:] + "." for text in texts]
    return Calibrated(name=one_line(name, 60), planted=planted, figures=figures, findings=findings)


def _share(data: Any, key: str) -> float | None:
    value = data.get(key)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None
