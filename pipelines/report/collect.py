"""Collects the data of a report from a recipe and its finished artifacts; sections without data are left out."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import SerializeAsAny

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.results import Results, Section
from windtunnel.pipelines.report.wording import (
    APART,
    digits_for,
    headline,
    incomparable_sentence,
    label,
    parts_sentence,
    plural,
    sentence,
    split_by_source,
)
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import printable
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison, Effect

SECTIONS = "windtunnel.pipelines.report.sections"


class Verdict(Record):
    """The answer for one mix."""

    mix: str
    verdict: str
    label: str
    sentence: str
    by_source: str  # the sources on which it is better and worse


class ReportData(Record):
    """Everything that the page shows."""

    question: str
    called: str  # what is compared: mix, variant or training
    arms: str  # the same, several
    headline: str
    verdicts: list[Verdict]
    measured_on: str
    facts: list[tuple[str, str]]  # label, figure
    sections: list[SerializeAsAny[Section]]


def collect(recipe: Mapping[str, Any], artifacts: Mapping[str, Artifact]) -> ReportData:
    """Return the report's data from a recipe (as JSON) and artifacts by step name, in plan order."""
    results = Results(recipe, artifacts)
    sections = [section for cls in section_classes() if (section := cls.of(results)) is not None]
    comparison = results.comparison
    return ReportData(
        question=printable(str(recipe.get("question") or "Report"), 400),
        called=results.called,
        arms=plural(results.called),
        headline=headline(comparison)
        if comparison
        else "Nothing was compared: this report tells what became of the text.",
        verdicts=_verdicts(comparison, results) if comparison else [],
        measured_on=_measured_on(comparison) if comparison else "",
        facts=_facts(results),
        sections=sections,
    )


@cache
def section_classes() -> tuple[type[Section], ...]:
    """Return the section of every file in `sections/`, by their `order`."""
    folder = importlib.import_module(SECTIONS).__path__
    classes: list[type[Section]] = []
    for module_info in pkgutil.iter_modules(folder):
        module = importlib.import_module(f"{SECTIONS}.{module_info.name}")
        (cls,) = [
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Section) and value.__module__ == module.__name__
        ]
        classes.append(cls)
    return tuple(sorted(classes, key=lambda cls: cls.order))


def _verdicts(comparison: Comparison, results: Results) -> list[Verdict]:
    digits = digits_for(comparison)
    rows = [] if results.matrix is None else list(results.matrix.iter_rows(named=True))
    return [
        Verdict(
            mix=e.mix,
            verdict=e.verdict,
            label=label(e),
            sentence=sentence(e, comparison.unit, digits),
            by_source=_more(e, comparison, rows),
        )
        for e in comparison.effects
    ] + [
        Verdict(
            mix=mix, verdict="undecided", label=APART, sentence=incomparable_sentence(comparison, mix), by_source=""
        )
        for mix in comparison.incomparable
    ]


def _more(effect: Effect, comparison: Comparison, rows: list[dict[str, Any]]) -> str:
    """Return how an effect divides into its parts, where sources were pinned, and on which sources it differs."""
    parts = comparison.parts.get(effect.mix)
    divided = parts_sentence(parts, comparison.unit, digits_for(comparison)) if parts is not None else ""
    by_source = split_by_source(effect.mix, comparison.direction, rows) if effect.judged else ""
    return f"{divided} {by_source}".strip()


def _measured_on(comparison: Comparison) -> str:
    on = comparison.on
    return f"{on.description}: {on.documents:,} documents, {units.size(on.bytes)}, {len(on.domains)} domains"


def _facts(results: Results) -> list[tuple[str, str]]:
    """Return the figures under the headline, as far as they are known."""
    comparison, facts = results.comparison, []
    if comparison:
        trainings, mixes = list(results.by_run("train")), list(comparison.values)
        if (results.recipe.get("train") or {}).get("variants"):
            facts.append(("trainings", str(len(trainings))))
            mixes = results.mixes()
        facts += [("mixes", str(len(mixes))), ("seeds", str(len(comparison.seeds)))]
    mixes = [artifact.manifest.counts.get("tokens") or 0 for artifact in results.of_kind("mix").values()]
    if any(mixes):
        facts.append(("tokens a run", units.short(max(mixes))))
    if reads := results.of_kind("read"):
        documents = sum(artifact.manifest.counts["kept"] for artifact in reads.values())
        facts.append(("documents read", units.short(documents)))
    if comparison:
        facts.append(("measured on", units.size(comparison.on.bytes)))
    work = sum(artifact.manifest.seconds for artifact in results.finished.values())
    return [*facts, ("work", units.seconds(work))]
