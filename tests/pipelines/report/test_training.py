"""Held-out curves and samples of text in the report: by mix and source, and text stays text."""

from __future__ import annotations

import json
import math
from pathlib import Path

import polars as pl
import pytest

from tests.pipelines.report.conftest import RESULT, folder_of, seal
from tests.pipelines.report.test_page import HOSTILE, Page
from windtunnel.pipelines.report.collect import collect
from windtunnel.pipelines.report.page import render
from windtunnel.schemas.artifact import write_text
from windtunnel.schemas.side_by_side import FILE, Figure, ProbeFigure, Row, Table
from windtunnel.schemas.work import Counts

BITS = {"raw": 3.0, "clean": 2.0}


def watched(root: Path, measures: dict[str, str]) -> str:
    """Return the report of runs with curves, whose scores are of these measures by mix."""
    artifacts = {}
    for mix, bits in BITS.items():
        for seed in range(2):
            name = f"train:{mix}:{seed}"
            folder = folder_of(root, name)
            rows = [
                {"step": step, "tokens": 1000 * step, "source": source, "documents": 5, "bytes": 100,
                 "nats": 100 * math.log(2) * (bits + seed / 10 + 10 / step)}
                for step in (10, 20, 40) for source in ("plays", HOSTILE[0])
            ]  # fmt: skip
            pl.DataFrame(rows).write_parquet(folder / "validation.parquet")
            samples = [
                {"step": step, "tokens": 1000 * step, "number": number, "prompt": f"p{number}", "text": text}
                for step in (10, 40) for number, text in enumerate(HOSTILE)
            ]  # fmt: skip
            pl.DataFrame(samples).write_parquet(folder / "samples.parquet")
            write_text(folder / "result.json", json.dumps(RESULT | {"measure": measures.get(mix, "likelihood")}))
            artifacts[name] = seal(root, name, Counts(), {}, {})
    return render(collect({"question": "Q", "mixes": {"raw": {}, "clean": {}}}, artifacts))


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> str:
    return watched(tmp_path_factory.mktemp("watched"), {})


def test_scores_that_do_not_compare_have_their_own_charts(tmp_path):
    text = watched(tmp_path, {"clean": "pseudo_likelihood"}).partition('<section id="validation"')[2]
    text = text.partition("</section>")[0]
    assert text.count('<svg class="plot"') == 6 and text.count('class="line ') == 6  # two charts for each of three
    assert "different measures, which do not compare" in text
    assert "ends at 2.300 bits per byte, hidden tokens" in text and text.count('<div class="panels">') == 1


def test_a_curve_for_every_mix_and_source_with_a_band_over_seeds(html):
    text = html.partition('<section id="validation"')[2].partition("</section>")[0]
    assert text.count('<svg class="plot"') == 3  # all sources, and each
    assert text.count('class="line ') == 6 and text.count('class="band ') == 6
    assert "raw ends at 3.300" in text and "clean ends at 2.300" in text  # the mean of seeds, by 10 / 40
    assert "of 10 held-out documents" in text


def test_what_models_write_is_text(html):
    page = Page(html)
    assert not [tag for tag, attrs in page.tags if tag in ("script", "img") or any(a.startswith("on") for a in attrs)]
    words = page.words()
    for text in HOSTILE[:4]:
        assert text in words
    assert "\u202e" not in html and "<U+202E>" in words
    assert html.count("after 40 k tokens") == 2 * len(HOSTILE)  # one seed of each mix


VARIANTS = {
    "llama": ("causal_lm", "nats per token", {"critical_batch_tokens": 12_000}),
    "elmo": ("bidirectional_lm", "nats per token, the sum of both directions", {"steps_left_out": "3 of 40"}),
    "dpo": ("dpo", "the units of its form, per pair", {}),
    "static": ("skipgram", "nats per pair of words", {"gradient_noise": "not measured: why"}),
}


def side_by_side(root: Path) -> str:
    """Return the report of one mix with three variants, one of them fitted at once."""
    artifacts, rows = {}, []
    probe = ProbeFigure(accuracy=0.931, low=0.9, high=0.95, chance=0.5, items=960, layer="1")
    for number, (run, (objective, unit, notes)) in enumerate(VARIANTS.items(), start=2):
        name, steps = f"train:{run}:0", 1 if run == "static" else 40
        folder = folder_of(root, name)
        log = {"tokens": [1000 * step for step in range(1, steps + 1)], "loss": [float(number)] * steps}
        pl.DataFrame(log).write_parquet(folder / "log.parquet")
        write_text(folder / "result.json", json.dumps(RESULT | {"objective": objective, "loss_unit": unit}))
        artifacts[name] = seal(root, name, Counts(notes=notes), {}, {})
        rows.append(
            Row(run=run, objective=objective, model=run, parameters=1_234_567, tokens=2_000_000, flops=1e12, seconds=70,
                trained=12_345 if run == "elmo" else 1_234_567,
                seeds=2, measure="pseudo_likelihood", score=Figure(mean=2.95, half=0.01), loss=3.0,
                probes={"sources": probe, "senses": probe})
        )  # fmt: skip
    text = Table(baseline="llama", rows=rows).model_dump_json()
    write_text(folder_of(root, "side_by_side") / FILE, text)
    artifacts["side_by_side"] = seal(root, "side_by_side", Counts(), {}, {})
    train = {"variants": {run: {} for run in VARIANTS}}
    return render(collect({"question": "Q", "mixes": {"all": {}}, "train": train}, artifacts))


def test_losses_have_their_units_and_what_was_left_out_is_said(tmp_path):
    html = side_by_side(tmp_path)
    text = html.partition('<section id="curves"')[2].partition("</section>")[0]
    assert "All of them read the same mix." in text and "which mix is better" not in text
    assert "Training loss, the mean" in text and "ends at 2.000 nats per token<" in text
    assert "ends at 3.000 nats per token, the sum of both directions<" in text
    assert "has no line, only 5.000 nats per pair of words" in text
    assert "ends at 4.000 units of its form per pair<" in text
    assert "elmo:0 left out 3 of 40 steps" in text and "llama: batches beyond about 12 k tokens" in text
    assert "static: the gradient noise scale is not measured: why." in text
    table = html.partition('<section id="trainings"')[2].partition("</section>")[0]
    assert '<th scope="col" class="n">trained</th>' in table and table.count('<td class="n">all</td>') == 3
    assert '<td class="n">12.3 k (1%)</td>' in table and "trained are the weights that the last stage trains" in table
    assert 'class="base"' not in table and "llama <i>baseline</i>" in table
