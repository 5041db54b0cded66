"""Quality classifiers: how well each tells its two corpora apart on what it has not seen, and what it was used for."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.generators.judging.calibration import wilson
from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.charts import Scale, Tick, line, number, ticks
from windtunnel.pipelines.report.made import Made, Section, read_json, shown
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import Record

UNIT = Scale(0.0, 1.0)
FEW = 100  # held-out documents of a class below which figures are called rough


class Bin(Record):
    """Held-out documents of like score, as the plot shows them: places in per cent, y upwards."""

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
    documents: str  # what it was trained on, in words
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
    def of(cls, made: Made) -> Classifiers | None:
        found = {what: read_json(a.path / "quality.json") for what, a in made.of_kind("quality").items()}
        rows = [_classifier(made, what, report) for what, report in found.items() if report]
        return cls(classifiers=rows, ticks=ticks(UNIT, 5)) if rows else None


def _classifier(made: Made, what: str, report: dict[str, Any]) -> Classifier:
    held, sizes = report["held_out"], report["documents"]
    inputs = made.of_kind("quality")[what].manifest.inputs
    roles = {role: shown(_step_of(made, inputs.get(role, "")) or role, 40) for role in ("positive", "negative")}
    bins = [_bin(found) for found in held["calibration"]]
    means, shares = ([found[key] for found in held["calibration"]] for key in ("mean_score", "positive"))
    return Classifier(
        corpus=shown(what, 40),
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
        bins=bins,
        cut=_cut(made, what),
        findings=_findings(held),
    )


def _bin(found: dict[str, Any]) -> Bin:
    low, high = wilson(found["positive"], found["documents"])
    return Bin(
        scores=f"{found['low']:.1f}–{found['high']:.1f}",
        documents=found["documents"],
        mean=number(found["mean_score"], 3),
        positive=units.share(round(found["positive"] * found["documents"]), found["documents"]),
        x=UNIT.at(found["mean_score"]),
        y=100 - UNIT.at(found["positive"]),
        low=100 - UNIT.at(low),
        high=100 - UNIT.at(high),
    )


def _cut(made: Made, what: str) -> str:
    """Return in words what the score was used for; the cut stands in the books of the step that decided."""
    found = [step for name, step in made.of_kind("decide").items() if name.partition(":")[0] == what]
    for step in reversed(found):
        counts = step.manifest.counts
        if cut := (counts.get("notes") or {}).get("quality_cut"):
            kept, seen = counts["kept"], counts["seen"]
            stay = f"{kept:,} of {seen:,} documents stay ({units.share(kept, seen)})"
            return f"The top share begins at a score of {float(cut):.4g}: {stay}."
    return ""


def _findings(held: dict[str, Any]) -> list[str]:
    found = []
    fewest = min(held["positive"], held["documents"] - held["positive"])
    if fewest < FEW:
        found.append(f"Only {fewest:,} held-out documents of one class: these figures are rough.")
    if held["ece"] > 0.1:
        found.append(f"A score is {held['ece']:.2f} away from the share of positives: it ranks, it is no probability.")
    return found


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _step_of(made: Made, directory: str) -> str:
    """Return the name of the corpus that a manifest's input names."""
    artifact: Artifact | None = made.by_directory(directory)
    return "" if artifact is None else artifact.manifest.step.partition(":")[2]
