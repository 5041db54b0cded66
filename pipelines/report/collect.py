"""Gathers what a report shows from a recipe and its finished artifacts; whatever is missing is left out."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import SerializeAsAny

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.made import Made, Section
from windtunnel.pipelines.report.printable import printable
from windtunnel.pipelines.report.wording import LABEL, digits_for, headline, sentence, split_by_source
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison

SECTIONS = "windtunnel.pipelines.report.sections"


class Verdict(Record):
    """The answer for one mix."""

    mix: str
    verdict: str
    label: str
    sentence: str
    by_source: str  # where it is better and where worse; a whole can hide its parts


class ReportData(Record):
    """Everything that the page shows."""

    question: str
    headline: str
    verdicts: list[Verdict]
    measured_on: str
    facts: list[tuple[str, str]]  # label, figure
    sections: list[SerializeAsAny[Section]]


def collect(recipe: Mapping[str, Any], artifacts: Mapping[str, Artifact]) -> ReportData:
    """Return the report's data from a recipe (as JSON) and finished artifacts by step name, in plan order."""
    made = Made(recipe, artifacts)
    sections = [section for cls in section_classes() if (section := cls.of(made)) is not None]
    found = made.comparison
    return ReportData(
        question=printable(str(recipe.get("question") or "Report"), 400),
        headline=headline(found) if found else "Nothing was compared: this report tells what became of the text.",
        verdicts=_verdicts(found, made) if found else [],
        measured_on=_measured_on(found) if found else "",
        facts=_facts(made),
        sections=sections,
    )


@cache
def section_classes() -> tuple[type[Section], ...]:
    """Return the section of every file in `sections/`, in the order in which they are shown."""
    folder = importlib.import_module(SECTIONS).__path__
    found = []
    for module_info in pkgutil.iter_modules(folder):
        module = importlib.import_module(f"{SECTIONS}.{module_info.name}")
        (cls,) = [
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Section) and value.__module__ == module.__name__
        ]
        found.append(cls)
    return tuple(sorted(found, key=lambda cls: cls.order))


def templates() -> Path:
    """Return the folder of the page's templates."""
    return Path(__file__).parent


def _verdicts(found: Comparison, made: Made) -> list[Verdict]:
    digits = digits_for(found)
    rows = [] if made.matrix is None else list(made.matrix.iter_rows(named=True))
    return [
        Verdict(
            mix=e.mix,
            verdict=e.verdict,
            label=LABEL[e.verdict],
            sentence=sentence(e, found.unit, digits),
            by_source=split_by_source(e.mix, found, rows),
        )
        for e in found.effects
    ]


def _measured_on(found: Comparison) -> str:
    on = found.on
    return f"{on.description}: {on.documents:,} documents, {units.size(on.bytes)}, {len(on.domains)} domains"


def _facts(made: Made) -> list[tuple[str, str]]:
    """Return the figures under the headline, those that there are."""
    found, facts = made.comparison, []
    if found:
        facts += [("mixes", str(len(found.values))), ("seeds", str(len(found.seeds)))]
    mixes = [a.manifest.counts.get("tokens") or 0 for a in made.of_kind("mix").values()]
    if any(mixes):
        facts.append(("tokens a run", units.short(max(mixes))))
    read = [a.manifest.counts for a in made.of_kind("read").values()]
    if read:
        facts.append(("documents read", units.short(sum(c["kept"] for c in read))))
    if found:
        facts.append(("measured on", units.size(found.on.bytes)))
    work = sum(a.manifest.seconds for a in made.artifacts.values() if a.done)
    return [*facts, ("work", units.seconds(work))]
