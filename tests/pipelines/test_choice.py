"""Who stays of a cluster, as scores: values in order, what is no number last, ranked sources before all."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from windtunnel.pipelines.dedup.matching.choice import parse

VALUES = [None, "x", float("-inf"), -2.5, -1e-300, 0, "7", 7.5, float("inf")]


def rows(values: list, sources: list[str] | None = None) -> pa.RecordBatch:
    meta = [json.dumps({"stars": value}) if value is not None else None for value in values]
    sources = sources or ["s"] * len(values)
    text = pa.array(["é" * (k + 1) for k in range(len(values))], pa.large_string())
    return pa.record_batch({"text": text, "meta": pa.array(meta, pa.string()), "source": sources})


def best_first(scores: np.ndarray) -> list[int]:
    return np.argsort(scores, kind="stable")[::-1].tolist()


@pytest.mark.parametrize("lowest", [False, True])
def test_values_are_in_order_and_what_is_no_number_is_last(lowest: bool) -> None:
    measured = pa.array([v if isinstance(v, (int, float)) else None for v in VALUES], pa.float64())
    choice = parse("lowest why.score" if lowest else "highest why.score")
    scores = choice.scores(rows(VALUES), measured)
    numbers = [k for k, value in enumerate(measured.to_pylist()) if value is not None]
    assert best_first(scores)[: len(numbers)] == (numbers if lowest else numbers[::-1])
    assert all(scores[k] == 0 for k in range(len(VALUES)) if k not in numbers)
    nan, low = choice.scores(rows([1, 2]), pa.array([float("nan"), -5.0]))
    assert nan == 0 < low


def test_numbers_in_meta_may_be_written_as_text() -> None:
    scores = parse("highest meta.stars").scores(rows(["7", 6, "x", -1, None]))
    assert best_first(scores)[:3] == [0, 1, 3]
    assert scores[2] == scores[4] == 0 < scores[3]


def test_the_longest_has_the_most_bytes_and_the_first_needs_no_score() -> None:
    assert parse("longest").scores(rows([1, 2, 3])).tolist() == [2, 4, 6]
    assert parse("first").scores(rows([1, 2, 3])) is None


def test_a_source_that_is_ranked_comes_before_any_value() -> None:
    given = rows([1, 9, 5, 99], ["books", "web", "books", "unknown"])
    scores = parse("highest meta.stars", "source", ("books", "web")).scores(given)
    assert best_first(scores) == [2, 0, 1, 3]
    alone = parse("first", "source", ("web", "books")).scores(given)
    assert best_first(alone)[0] == 1 and alone[0] == alone[2] > alone[3] == 0
