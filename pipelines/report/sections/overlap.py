"""Overlap of each evaluation set with the corpora that were decontaminated, and the documents dropped for it."""

from __future__ import annotations

from typing import Any, ClassVar

import polars as pl

from windtunnel.pipelines.recipe.decontamination import HELD_OUT
from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.results import Results, Section
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record


class Evaluation(Record):
    """One evaluation set against one corpus; counts of distinct n-grams."""

    name: str
    items: int
    too_short: int  # not searched for: matches would be chance
    met: int
    met_share: str  # of the items that were searched for
    width: float
    ngrams: int
    found: int
    found_share: str
    common: int  # in too many documents: ignored as common phrases
    documents: int


class Cleared(Record):
    """One corpus, and the evaluation sets that it was compared with."""

    corpus: str
    how: str
    done: str
    evaluations: list[Evaluation]
    common: bool
    unsearched: list[str]  # names of the sets of which every item is too short


class Overlap(Section):
    """The overlap tables."""

    title: ClassVar[str] = "Overlap with evaluation sets"
    order: ClassVar[int] = 54

    corpora: list[Cleared]

    @classmethod
    def of(cls, results: Results) -> Overlap | None:
        artifacts = results.of_kind("decontaminate").items()
        corpora = [_cleared(what, a) for what, a in artifacts if (a.path / "overlap.parquet").exists()]
        return cls(corpora=corpora) if corpora else None


def _cleared(what: str, artifact: Artifact) -> Cleared:
    manifest = artifact.manifest
    rows = [_evaluation(row) for row in pl.read_parquet(artifact.path / "overlap.parquet").iter_rows(named=True)]
    return Cleared(
        corpus=one_line(what, 40),
        how=_how(manifest.config.get("how") or {}),
        done=_done(manifest.counts),
        evaluations=rows,
        common=any(row.common for row in rows),
        unsearched=[row.name for row in rows if row.items == row.too_short],
    )


def _evaluation(row: dict[str, Any]) -> Evaluation:
    searched = row["items"] - row["items_too_short"]
    name = "the held-out set" if row["evaluation"] == HELD_OUT else one_line(row["evaluation"], 60)
    return Evaluation(
        name=name,
        items=row["items"],
        too_short=row["items_too_short"],
        met=row["items_met"],
        met_share=units.share(row["items_met"], searched),
        width=round(100 * row["items_met"] / searched, 3) if searched else 0.0,
        ngrams=row["ngrams"],
        found=row["ngrams_found"],
        found_share=units.share(row["ngrams_found"], row["ngrams"]),
        common=row["ngrams_common"],
        documents=row["documents"],
    )


def _how(config: dict[str, Any]) -> str:
    """Return the definition of a match as a phrase."""
    phrase = f"{int(config.get('ngram') or 0)} words in a row"
    if (matches := int(config.get("min_matches") or 1)) > 1:
        phrase = f"{matches} different runs of {phrase}"
    common = config.get("common")
    return phrase + (f", in at most {int(common):,} documents" if common else "")


def _done(counts: dict[str, Any]) -> str:
    """Return the numbers of documents dropped and cut as a phrase."""
    dropped, seen = sum(counts["dropped"].values()), counts["seen"]
    phrase = f"{dropped:,} of {seen:,} documents dropped ({units.share(dropped, seen)})"
    cut = int((counts.get("notes") or {}).get("documents_cut") or 0)
    return phrase + (f", {cut:,} kept without the places" if cut else "")
