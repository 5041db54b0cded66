"""The section of quality classifiers: held-out figures come out again, and points stand where they should."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from windtunnel.pipelines.report.collect import collect
from windtunnel.pipelines.report.page import render
from windtunnel.pipelines.report.results import Results
from windtunnel.pipelines.report.sections.classifiers import Classifiers
from windtunnel.pipelines.scorers.metrics import figures
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest, write_text
from windtunnel.schemas.work import Counts

HOSTILE = "<b>liked</b>"


def seal(root: Path, step: str, counts: Counts, inputs: dict[str, Artifact]) -> Artifact:
    folder = root / f"step-{len(list(root.iterdir()))}"
    folder.mkdir()
    manifest = Manifest(
        step=step,
        version=1,
        key="0" * 64,
        config={},
        inputs={role: a.path.name for role, a in inputs.items()},
        counts=counts.model_dump(),
        seconds=1,
        cpu_seconds=1,
        peak_memory_bytes=1,
        bytes=1,
        versions={},
        git="",
    )
    manifest.write(folder / MANIFEST)
    return Artifact(folder)


@pytest.fixture
def made(tmp_path: Path) -> Results:
    good = seal(tmp_path, "corpus:good", Counts(), {})
    pool = seal(tmp_path, "corpus:pool", Counts(), {})
    model = seal(tmp_path, f"quality:{HOSTILE}", Counts(), {"positive": good, "negative": pool})
    truth = np.array([True] * 300 + [False] * 300)
    scores = np.concatenate([np.full(270, 0.95), np.full(30, 0.15), np.full(60, 0.95), np.full(240, 0.15)])
    report = {
        "documents": {"positive": {"corpus": 4000, "sampled": 3000}, "negative": {"corpus": 9000, "sampled": 3000}},
        "in_both": 0,
        "trained_on": 5400,
        "held_out": figures(truth, scores),
    }
    write_text(model.path / "quality.json", json.dumps(report))
    books = Counts(seen=9000, kept=1810, dropped={"quality.not_in_top": 7190}, notes={"quality_cut": "0.417"})
    decide = seal(tmp_path, f"decide:{HOSTILE}", books, {})
    steps = {"corpus:good": good, "corpus:pool": pool, f"quality:{HOSTILE}": model, f"decide:{HOSTILE}": decide}
    return Results({"question": "?"}, steps)


def test_known_figures_come_out_again(made: Results) -> None:
    section = Classifiers.of(made)
    assert section is not None
    (found,) = section.classifiers
    assert (found.positive, found.negative, found.held_out) == ("good", "pool", 600)
    shown = dict(found.figures)
    assert shown["precision at 0.5"] == "0.818" and shown["recall at 0.5"] == "0.900"  # 270 / 330, 270 / 300
    assert found.cut == "The top share begins at a score of 0.417: 1,810 of 9,000 documents stay (20.1%)."
    low, high = found.bins
    assert (low.documents, high.documents) == (270, 330)
    assert low.x == pytest.approx(15) and low.y == pytest.approx(100 - 100 * 30 / 270, abs=0.01)
    assert high.x == pytest.approx(95) and high.y == pytest.approx(100 - 100 * 270 / 330, abs=0.01)
    assert all(b.high < b.y < b.low for b in found.bins)  # y grows downwards on the page
    assert found.findings == []


def test_the_plot_is_on_the_page_and_names_stay_text(made: Results) -> None:
    html = render(collect(made.recipe, made.artifacts))
    assert html.count('<circle class="mark"') == 2 and 'class="even"' in html
    assert "&lt;b&gt;liked" in html and "<b>liked" not in html
    assert "0.818" in html and "The top share begins" in html


def test_no_classifier_no_section(tmp_path: Path) -> None:
    assert Classifiers.of(Results({}, {"corpus:good": seal(tmp_path, "corpus:good", Counts(), {})})) is None
