"""The reader of shards: bounded batches, decisions and measured values beside their rows, files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.shards.reader import BATCH_BYTES, MOST_ROWS, Shard, batches
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import DECISION, DOCUMENT


def documents(root: Path, texts: list[str], group: int = 1 << 20) -> Artifact:
    rows = {"id": [str(i) for i in range(len(texts))], "text": texts, "source": ["s"] * len(texts)}
    empty = dict.fromkeys(("url", "lang", "meta"), [None] * len(texts))
    (root / "documents").mkdir(parents=True)
    pq.write_table(pa.table({**rows, **empty}, DOCUMENT), root / "documents" / "00000.parquet", row_group_size=group)
    return Artifact(root)


def decisions(root: Path, reasons: list[str | None]) -> Artifact:
    (root / "decisions").mkdir(parents=True)
    rows = {"id": [str(i) for i in range(len(reasons))], "reason": reasons, "step": [r and "before" for r in reasons]}
    pq.write_table(pa.table(rows, DECISION), root / "decisions" / "00000.parquet", row_group_size=700)
    return Artifact(root)


def measures(root: Path, columns: dict[str, list[Any]]) -> Artifact:
    (root / "measures").mkdir(parents=True)
    pl.DataFrame(columns).write_parquet(root / "measures" / "00000.parquet")
    return Artifact(root)


def test_decisions_and_values_stand_beside_their_rows_in_every_batch(tmp_path: Path) -> None:
    count = 2 * MOST_ROWS + 77
    first = {"id": [str(i) for i in range(count)], "n": list(range(count)), "m": [None, 1.5] * (count // 2) + [2.5]}
    inputs = {
        "documents": documents(tmp_path / "d", [f"text {i}" for i in range(count)], 5000),
        "decisions": decisions(tmp_path / "r", [None if i % 3 else "rule" for i in range(count)]),
        "measures1": measures(tmp_path / "m1", first),
        "measures2": measures(tmp_path / "m2", {"n": [-i if i % 2 else None for i in range(count)]}),
    }
    shard = Shard(inputs, 0)
    for size in (None, 1000, count):
        row = 0
        for batch in shard.batches(["id"], size, None):
            numbers = range(row, row + batch.rows.num_rows)
            assert batch.first == row
            assert batch.rows["id"].to_pylist() == [str(i) for i in numbers]
            assert batch.alive.tolist() == [i % 3 != 0 for i in numbers]
            assert batch.decisions is not None and batch.measured is not None
            assert batch.decisions["step"].to_pylist() == [None if i % 3 else "before" for i in numbers]
            assert batch.measured.columns == ["n", "m"], "ids are not measured"
            assert batch.measured["n"].to_list() == [-i if i % 2 else i for i in numbers], "the later value counts"
            row = numbers.stop
        assert row == count
    empty = shard.empty(["id"], ["m"])
    assert (empty.rows.num_rows, empty.measured is not None and empty.measured.columns) == (0, ["m"])


def test_batches_are_bounded_by_rows_and_by_bytes_of_text(tmp_path: Path) -> None:
    texts = ["x" * (1 << 20)] * 20 + ["y" * (3 * BATCH_BYTES)] + ["short"] * (MOST_ROWS + 5)
    path = documents(tmp_path, texts).files("documents")[0]
    for rows in (None, 100):
        parts = [batch["text"] for batch in batches(path, ["id", "text"], rows)]
        assert max(len(part) for part in parts) <= (rows or MOST_ROWS)
        assert [len(part) for part in parts if part.nbytes > BATCH_BYTES] == [1], "one document is never cut"
        assert [text.as_py() for part in parts for text in part] == texts


def test_memory_does_not_follow_the_shard(tmp_path: Path) -> None:
    def peak(size: int) -> int:
        path = documents(tmp_path / str(size), [f"{i:06d} " * 2000 for i in range(size)]).files("documents")[0]
        before = pa.total_allocated_bytes()
        return max(pa.total_allocated_bytes() - before for _ in batches(path, ["id", "text"], 1000))

    peak(100)  # pools and caches
    small, large = peak(2000), peak(8000)  # 28 and 112 MB of text
    assert large < small + (4 << 20)
    assert large < 6 * BATCH_BYTES


@pytest.mark.parametrize("rows", [2, 4])
def test_files_that_are_not_row_aligned_are_refused(tmp_path: Path, rows: int) -> None:
    inputs = {"documents": documents(tmp_path / "d", ["a", "b", "c"])}
    others = {
        "decisions": decisions(tmp_path / "r", [None] * rows),
        "measures1": measures(tmp_path / "m", {"n": [1] * rows}),
    }
    for role, artifact in others.items():
        with pytest.raises(InputError, match=f"has {rows} rows and is not row-aligned with its shard of 3 documents"):
            list(Shard({**inputs, role: artifact}, 0).batches(measured=None))


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    shard = Shard({"documents": documents(tmp_path / "d", ["a"]), "measures1": measures(tmp_path / "m", {"n": [1]})}, 0)
    with pytest.raises(InputError, match="has no column 'texd': did you mean 'text'"):
        list(shard.batches(["texd"]))
    with pytest.raises(InputError, match="nothing called 'nn' was measured before: did you mean 'n'"):
        list(shard.batches(["id"], measured=["nn"]))
