"""The section of statistics: the measure that decides comes first, bars hold all documents, names stay text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from windtunnel.pipelines.datasets.stats import Statistics as Work
from windtunnel.pipelines.report.collect import collect
from windtunnel.pipelines.report.page import render
from windtunnel.pipelines.report.results import Results
from windtunnel.pipelines.report.sections.statistics import Statistics, _bars, _figure, _place
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest
from windtunnel.schemas.work import Counts

HOSTILE = "<b>clean</b>"


def seal(folder: Path, step: str) -> Artifact:
    told = {"seconds": 1, "cpu_seconds": 1, "peak_memory_bytes": 1, "bytes": 1, "versions": {}, "git": ""}
    manifest = Manifest(step=step, version=1, key="0" * 64, config={}, inputs={}, counts=Counts().model_dump(), **told)
    manifest.write(folder / MANIFEST)
    return Artifact(folder)


def statistics(root: Path, words: np.ndarray, other: np.ndarray, stays: np.ndarray) -> Results:
    corpus = root / "corpus"
    why = [{"words": int(w), "noise": float(o)} for w, o in zip(words, other, strict=True)]
    rows = pl.DataFrame({"source": [f"<i>s{k % 2}</i>" for k in range(len(why))], "url": [None] * len(why), "why": why})
    for fate, chosen in (("kept", stays), ("dropped", ~stays)):
        (corpus / fate).mkdir(parents=True)
        rows.with_columns(pl.col("url").cast(pl.String)).filter(pl.Series(chosen)).write_parquet(
            corpus / fate / "0.parquet"
        )
    work, out = Work(), root / "stats"
    work.run({"corpus": Artifact(corpus)}, out, 0)
    work.finish({"corpus": Artifact(corpus)}, out)
    return Results({"question": "?"}, {f"stats:{HOSTILE}": seal(out, f"stats:{HOSTILE}")})


@pytest.fixture
def made(tmp_path: Path) -> Results:
    draw = np.random.default_rng(0)
    words = draw.integers(1, 1000, 400)
    return statistics(tmp_path, words, draw.normal(0, 1, 400), words >= 100)


def test_what_decides_comes_first_with_its_distance_and_medians(made: Results) -> None:
    section = Statistics.of(made)
    assert section is not None
    (corpus,) = section.corpora
    assert [plot.measure for plot in corpus.plots] == ["words", "noise"]
    assert float(corpus.plots[0].distance) > 0.9 > 0.3 > float(corpus.plots[1].distance)
    assert corpus.kept + corpus.dropped == 400 and sum(row.documents for row in corpus.rows) == corpus.kept
    stays, goes = re.findall(r"median ([\d.]+) of those that stay, ([\d.]+)", corpus.plots[0].medians)[0]
    assert 450 < float(stays) < 650 and 30 < float(goes) < 70


def test_bars_hold_every_document_once_with_zero_beside_the_rest(made: Results) -> None:
    lows = [-4.0, 0.0, 100.0, 101.0, 3000.0]
    counts = pl.DataFrame({"low": lows, "kept": [1, 2, 3, 4, 0], "dropped": [0, 0, 5, 0, 5]})
    bars = _bars(counts)
    assert sum(kept for _, kept, _ in bars) == pytest.approx(1) and sum(d for *_, d in bars) == pytest.approx(1)
    edges = [edge for edge, *_ in bars]
    assert edges == sorted(edges) and 0.0 in edges and 64 <= edges[edges.index(0.0) + 1] <= 100
    assert _place(0.0) == 0 and _place(-2.0) == -_place(2.0)


def test_the_section_is_on_the_page_and_names_stay_text(made: Results) -> None:
    html = render(collect(made.recipe, made.artifacts))
    assert "What the rules see" in html and "&lt;b&gt;clean" in html
    assert HOSTILE not in html and "<i>s0</i>" not in html and "nan" not in html.lower()


def test_a_handful_of_documents_makes_no_section(tmp_path: Path) -> None:
    words = np.arange(1, 31)
    assert Statistics.of(statistics(tmp_path, words, words * 0.0, words > 15)) is None
    assert Statistics.of(Results({}, {})) is None


def test_figures_are_as_long_as_a_bin_allows() -> None:
    assert [_figure(v) for v in (0.0, 0.0123, 1.26, 45.3, 1234.5, float("nan"))] == [
        "0",
        "0.0123",
        "1.3",
        "45",
        "1,234",
        "–",
    ]
