"""Quality classifiers: how well each separates its two corpora on held-out documents, and what its score decided."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.generators.judging.calibration import wilson
from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.charts import Scale, Tick, line, number, ticks
from windtunnel.pipelines.report.results import Results, Section, read_json
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record

UNIT = Scale(0.0, 1.0)
FEW = 100  # held-out documents of a class below which figures are called rough


class Bin(Record):
    """A bin of held-out documents by score; positions in per cent, y upwards."""

    scores: str
    documents: int
    mean: str
    positive: str
    x: float
    y: float
    low: float
    high: float


class Classifier(Record):
    """One classifier."""

    corpus: str
    positive: str
    negative: str
    documents: str  # what it was trained on
    held_out: int
    figures: list[tuple[str, str]]
    thresholds: list[tuple[str, str, str]]
    line: str
    bins: list[Bin]
    cut: str
    findings: list[str]


class Classifiers(Section):
    """All classifiers that the recipe trained."""

    title: ClassVar[str] = "Quality classifiers"
    order: ClassVar[int] = 52

    classifiers: list[Classifier]
    ticks: list[Tick]

    @classmethod
    def of(cls, results: Results) -> Classifiers | None:
        reports = {what: read_json(a.path / "quality.json") for what, a in results.of_kind("quality").items()}
        rows = [_classifier(results, what, report) for what, report in reports.items() if report]
        return cls(classifiers=rows, ticks=ticks(UNIT, 5)) if rows else None


def _classifier(results: Results, what: str, report: dict[str, Any]) -> Classifier:
    held, sizes = report["held_out"], report["documents"]
    inputs = results.of_kind("quality")[what].manifest.inputs
    roles = {role: one_line(_corpus(results, inputs.get(role)) or role, 40) for role in ("positive", "negative")}
    means, shares = ([row[key] for row in held["calibration"]] for key in ("mean_score", "positive"))
    return Classifier(
        corpus=one_line(what, 40),
        **roles,
        documents=f"{report['trained_on']:,} documents, drawn from {sizes['positive']['corpus']:,} and "
        f"{sizes['negative']['corpus']:,}",
        held_out=held["documents"],
        figures=[
            ("precision at 0.5", _figure(held["precision"])),
            ("recall at 0.5", _figure(held["recall"])),
            ("area under the ROC curve", _figure(held["auc"])),
            ("Brier score", _figure(held["brier"])),
            ("expected calibration error", _figure(held["ece"])),
        ],
        thresholds=[(at, _figure(f["precision"]), _figure(f["recall"])) for at, f in held["thresholds"].items()],
        line=line(means, shares, UNIT, UNIT),
        bins=[_bin(row) for row in held["calibration"]],
        cut=_cut(results, what),
        findings=_findings(held),
    )


def _bin(row: dict[str, Any]) -> Bin:
    low, high = wilson(row["positive"], row["documents"])
    return Bin(
        scores=f"{row['low']:.1f}–{row['high']:.1f}",
        documents=row["documents"],
        mean=number(row["mean_score"], 3),
        positive=units.share(round(row["positive"] * row["documents"]), row["documents"]),
        x=UNIT.at(row["mean_score"]),
        y=100 - UNIT.at(row["positive"]),
        low=100 - UNIT.at(low),
        high=100 - UNIT.at(high),
    )


def _cut(results: Results, what: str) -> str:
    """Return a sentence on the cut that the last deciding step made by the score; empty when none did."""
    decided = [step for name, step in results.finished.items() if name.kind == "decide" and name.names[0] == what]
    for step in reversed(decided):
        counts = step.manifest.counts
        if cut := (counts.get("notes") or {}).get("quality_cut"):
            kept, seen = counts["kept"], counts["seen"]
            stay = f"{kept:,} of {seen:,} documents stay ({units.share(kept, seen)})"
            return f"The top share begins at a score of {float(cut):.4g}: {stay}."
    return ""


def _findings(held: dict[str, Any]) -> list[str]:
    findings = []
    fewest = min(held["positive"], held["documents"] - held["positive"])
    if fewest < FEW:
        findings.append(f"Only {fewest:,} held-out documents of one class: these figures are rough.")
    if held["ece"] > 0.1:
        findings.append(
            f"A score is {held['ece']:.2f} away from the share of positives: it ranks, it is no probability."
        )
    return findings


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _corpus(results: Results, directory: str | None) -> str:
    """Return the name of the corpus in a directory that a manifest's inputs name; empty when it was deleted."""
    names = (name.what for name, artifact in results.finished.items() if artifact.path.name == directory)
    return next(names, "")
