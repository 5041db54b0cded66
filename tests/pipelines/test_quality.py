"""The quality classifier: trained on two corpora, tried on what it has not seen, applied by threshold or top share."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.features.settings import Settings
from windtunnel.pipelines.filters._chain import chain
from windtunnel.pipelines.filters._measure import Measure
from windtunnel.pipelines.filters._rule import Rule
from windtunnel.pipelines.filters._stages import Stage, stages
from windtunnel.pipelines.scorers.fasttext_model import lines, opened, probabilities
from windtunnel.pipelines.scorers.metrics import auc, figures
from windtunnel.pipelines.scorers.score_histogram import ScoreHistogram
from windtunnel.pipelines.scorers.train_quality import TrainQuality
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.schemas.work import Counts

GOOD = ["because", "therefore", "explains", "question", "answer", "step", "reason", "shows", "example", "means"]
BAD = ["cheap", "click", "login", "cart", "sale", "menu", "cookie", "share", "follow", "price"]
BOTH = ["the", "of", "and", "to", "in", "a", "is", "that", "it", "for", "on", "with", "as", "was", "at", "by"]
SMALL = TrainQuality(dimensions=8, buckets=2000, learning_rate=0.5, epochs=10)


def texts(kind: list[str], number: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(kind + BOTH, k=30)) for _ in range(number)]


def corpus(path: Path, *shards: list[str], folder: str = "kept") -> Artifact:
    (path / folder).mkdir(parents=True)
    for rank, shard in enumerate(shards):
        rows = [
            {"id": document_id("s", t), "text": t, "source": "s", "url": None, "lang": None, "meta": None}
            for t in shard
        ]
        table = pl.DataFrame(rows, schema=dict.fromkeys(DOCUMENT.names, pl.String)).to_arrow().cast(DOCUMENT)
        pq.write_table(table, path / folder / f"{rank:05d}.parquet")
    return Artifact(path)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    base = tmp_path_factory.mktemp("pair")
    good, bad = texts(GOOD, 300, 1), texts(BAD, 500, 2)
    hostile = [f"__label__positive {t} </s> __label__positive {t}" for t in texts(BAD, 50, 3)]
    return {
        "positive": corpus(base / "good", good[:200], good[200:]),
        "negative": corpus(base / "bad", bad, [*hostile, *good[:20]]),
    }


@pytest.fixture(scope="module")
def trained(pair: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Counts]:
    out = tmp_path_factory.mktemp("model") / "quality"
    return Artifact(out), SMALL.run(pair, out, 0)


def test_it_tells_the_classes_apart_and_keeps_its_books(trained: tuple[Artifact, Counts]) -> None:
    artifact, counts = trained
    report = json.loads((artifact.path / "quality.json").read_bytes())
    assert counts.seen == 870 and counts.kept == 600 and counts.dropped == {"in_both": 20, "not_sampled": 250}
    assert report["documents"]["positive"] == {"corpus": 300, "sampled": 300}
    assert report["documents"]["negative"] == {"corpus": 570, "sampled": 300}
    held = report["held_out"]
    assert report["trained_on"] + held["documents"] == 600 and 30 <= held["documents"] <= 90
    assert held["precision"] > 0.95 and held["recall"] > 0.95 and held["auc"] > 0.99
    assert sum(b["documents"] for b in held["calibration"]) == held["documents"]


def test_the_same_corpora_give_the_same_bytes(
    pair: dict[str, Artifact], trained: tuple[Artifact, Counts], tmp_path: Path
) -> None:
    SMALL.run(pair, tmp_path / "again", 0)
    for name in ("model.bin", "quality.json"):
        assert (tmp_path / "again" / name).read_bytes() == (trained[0].path / name).read_bytes()
    assert sorted(f.name for f in (tmp_path / "again").iterdir()) == ["model.bin", "quality.json"]


def test_text_cannot_label_itself(trained: tuple[Artifact, Counts]) -> None:
    model = opened(trained[0].path / "model.bin")
    assert set(model.get_labels()) == {"__label__positive", "__label__negative"}
    spam = texts(BAD, 1, 9)[0]
    scores = probabilities(model, pl.Series([f"__label__positive </s>\n{spam}", spam, None]), "positive")
    assert scores[0] < 0.2 and scores[1] < 0.2
    assert lines(pl.Series(["a\r\nb\x00c"])).to_list() == ["a b c"]
    with pytest.raises(InputError, match="positive"):
        probabilities(model, pl.Series(["x"]), "good")


def test_too_small_a_class_is_told(pair: dict[str, Artifact], tmp_path: Path) -> None:
    few = corpus(tmp_path / "few", texts(GOOD, 3, 1))
    with pytest.raises(InputError, match="3 positive"):
        SMALL.run({"positive": few, "negative": pair["negative"]}, tmp_path / "out", 0)


def decided(chain_: list[Stage], documents: Artifact, out: Path, **more: Artifact) -> tuple[list[str | None], Counts]:
    reasons: list[str | None] = []
    parts = []
    measure, decide = chain_[0].work, chain_[1].work
    inputs = {"documents": documents, **more}
    for rank in range(measure.shards(inputs)):
        measure.run(inputs, out / "measures", rank)
    measure.finish(inputs, out / "measures")
    inputs = {"measures": Artifact(out / "measures")}
    for rank in range(decide.shards(inputs)):
        parts.append(decide.run(inputs, out / "decisions", rank))
        reasons += pl.read_parquet(out / "decisions" / "decisions" / f"{rank:05d}.parquet")["reason"].to_list()
    return reasons, Counts.total(parts)


def test_the_top_share_is_of_all_shards_together(trained: tuple[Artifact, Counts], tmp_path: Path) -> None:
    # one shard holds the good documents, the other none: a quantile of each shard would keep bad ones
    documents = corpus(tmp_path / "d", texts(GOOD, 20, 5), texts(BAD, 180, 6), folder="documents")
    model = str(trained[0].path / "model.bin")
    reasons, counts = decided(stages([{"quality": {"path": model, "top": 0.1}}]), documents, tmp_path / "out")
    assert all(reason is None for reason in reasons[:20])
    assert set(reasons[20:]) == {"quality.not_in_top"}
    scores = pl.read_parquet(tmp_path / "out" / "measures" / "measures" / "*.parquet")["quality"].sort(descending=True)
    cut = float(counts.notes["quality_cut"])
    assert scores[20] < cut <= scores[19]


def test_a_threshold_needs_no_other_shard_and_a_changed_share_no_new_measurement(
    trained: tuple[Artifact, Counts],
) -> None:
    model = str(trained[0].path / "model.bin")
    specs: list[Any] = [{"quality": {"path": model, **how}} for how in ({"top": 0.1}, {"top": 0.2}, {"threshold": 0.5})]
    works = [stages([spec]) for spec in specs]
    assert works[0][0].work == works[1][0].work == works[2][0].work
    assert len({work[1].work.model_dump_json() for work in works}) == 3
    with pytest.raises(RecipeError, match="share of all documents"):
        chain([specs[0]])


def test_a_model_of_the_plan_reaches_the_measurement(trained: tuple[Artifact, Counts], tmp_path: Path) -> None:
    documents = corpus(tmp_path / "d", [*texts(GOOD, 5, 5), *texts(BAD, 5, 6), ""], folder="documents")
    spec = {"quality": {"positive": "good", "negative": "bad", "threshold": 0.5}}
    rule: Any = make(Rule, spec)
    assert rule.corpora == {"positive": "good", "negative": "bad"}
    reasons, _ = decided(stages([spec]), documents, tmp_path / "out", quality=trained[0])
    assert reasons[:5] == [None] * 5 and reasons[5:10] == ["quality.low"] * 5
    with pytest.raises(InputError, match="needs the model"):
        Measure(settings=Settings(), rules=({"quality": rule.measure_config()},)).run(
            {"documents": documents}, tmp_path / "no", 0
        )


@pytest.mark.parametrize(
    "words", [{}, {"path": "m", "top": 0.1, "threshold": 0.5}, {"positive": "a", "top": 0.1}, {"path": "m"}]
)
def test_half_a_rule_is_refused(words: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="quality has either"):
        make(Rule, {"quality": words})


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"no model at all")
    with pytest.raises(InputError, match="not a fastText model"):
        opened(tmp_path / "m.bin")


def test_cuts_keep_the_share_to_within_a_bin() -> None:
    scores = np.random.default_rng(1).beta(0.3, 3, 50_000)
    histogram = ScoreHistogram()
    for part in np.split(scores, 10):
        histogram.add(part)
    for share in (0.001, 0.1, 0.5, 1.0):
        kept = int((scores >= histogram.cut(share)).sum())
        assert share * 50_000 <= kept <= share * 50_000 + 40
    histogram.add(np.array([np.nan, 0.0, 1.0]))
    assert histogram.total == 50_002


def test_equal_scores_stay_together() -> None:
    histogram = ScoreHistogram()
    histogram.add(np.full(100, 0.25))
    assert histogram.cut(0.1) <= 0.25


def test_figures_by_hand() -> None:
    truth, scores = np.array([True, True, False, False]), np.array([0.9, 0.4, 0.6, 0.1])
    found = figures(truth, scores)
    assert (found["precision"], found["recall"]) == (0.5, 0.5)
    assert found["auc"] == pytest.approx(0.75)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert found["ece"] == pytest.approx((0.1 + 0.6 + 0.6 + 0.1) / 4)
    assert auc(truth, np.full(4, 0.5)) == 0.5 and auc(np.array([True]), np.array([0.5])) is None
