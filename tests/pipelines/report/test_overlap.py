"""The section of evaluation sets: the figures of the table come out, and names from recipes stay text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from windtunnel.pipelines.report.collect import collect
from windtunnel.pipelines.report.page import render
from windtunnel.pipelines.report.results import Results
from windtunnel.pipelines.report.sections.overlap import Overlap
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest
from windtunnel.schemas.work import Counts

HOSTILE = "<img src=x onerror=alert(1)>\u202e"
COLUMNS = ("items", "items_too_short", "items_met", "ngrams", "ngrams_found", "ngrams_common", "documents")


def made_of(root: Path, rows: dict[str, tuple[int, ...]], counts: Counts, how: dict[str, Any]) -> Results:
    table = [{"evaluation": name, **dict(zip(COLUMNS, row, strict=True))} for name, row in rows.items()]
    root.mkdir(exist_ok=True)
    pl.DataFrame(table).write_parquet(root / "overlap.parquet")
    manifest = Manifest(
        step="decontaminate:a", version=1, key="0" * 32, config={"how": how}, counts=counts.model_dump()
    )
    manifest.write(root / MANIFEST)
    return Results({"question": "?"}, {"decontaminate:a": Artifact(root)})


def test_the_table_has_a_row_an_evaluation_and_foreign_names_stay_text(tmp_path: Path) -> None:
    rows = {
        "exam": (200, 50, 30, 4000, 600, 0, 41),
        "held_out": (10, 0, 0, 90, 0, 0, 0),
        HOSTILE: (3, 3, 0, 0, 0, 0, 0),
    }
    books = Counts(seen=1000, kept=960, dropped={"contaminated": 40}, notes={"documents_cut": 1})
    made = made_of(tmp_path / "a", rows, books, {"ngram": 13, "min_matches": 1, "common": None})
    section = Overlap.of(made)
    assert section is not None
    (found,) = section.corpora
    exam, held_out, short = found.evaluations
    assert (exam.met_share, exam.width, exam.found_share, exam.documents) == ("20.0%", 20.0, "15.0%", 41)  # 30 of 150
    assert (held_out.name, held_out.met_share) == ("the held-out set", "0.0%")
    assert short.met_share == "–" and found.unsearched == [short.name] and not found.common
    assert found.how == "13 words in a row"
    assert found.done == "40 of 1,000 documents dropped (4.0%), 1 kept without the places"
    html = render(collect(made.recipe, made.artifacts))
    assert "<img" not in html and "\u202e" not in html and html.count("&lt;img src=x onerror=alert(1)&gt;") == 2
    assert "is too short to be told from chance" in html and "common, ignored" not in html


def test_what_counted_is_said(tmp_path: Path) -> None:
    how = {"ngram": 8, "min_matches": 3, "common": 10}
    made = made_of(tmp_path / "a", {"exam": (1, 0, 1, 9, 5, 2, 1)}, Counts(seen=2, kept=2), how)
    section = Overlap.of(made)
    assert section is not None and section.corpora[0].common
    assert section.corpora[0].how == "3 different runs of 8 words in a row, in at most 10 documents"
    assert "common, ignored" in render(collect(made.recipe, made.artifacts))


@pytest.mark.parametrize("steps", [{}, {"decontaminate:a": Artifact(Path("nowhere"))}])
def test_no_table_no_section(steps: dict[str, Artifact]) -> None:
    assert Overlap.of(Results({"question": "?"}, steps)) is None
