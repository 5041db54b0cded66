"""Tables: rows by range and by number out of several files."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.generators.core.material import Table
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError


@pytest.fixture
def table(tmp_path):
    (tmp_path / "kept").mkdir()
    start = 0
    for rank, count in enumerate((5, 0, 700, 1)):
        part = pa.table(
            {
                "n": pa.array(range(start, start + count), pa.int64()),
                "text": [f"t{i}" for i in range(start, start + count)],
            }
        )
        pq.write_table(part, tmp_path / "kept" / f"{rank:05d}.parquet", row_group_size=100)
        start += count
    return Table.of(Artifact(tmp_path))


def test_rows_of_any_range_come_once_and_in_order(table):
    assert len(table) == 706
    for numbers in (range(706), range(3, 8), range(5), range(5, 705), range(255, 300), range(705, 706), range(4, 4)):
        assert [row["n"] for row in table.rows(numbers)] == list(numbers)
    assert list(table.rows(range(2), columns=["text"])) == [{"text": "t0"}, {"text": "t1"}]


def test_a_spread_takes_evenly_from_all_and_shards_share_it(table):
    whole = [row["n"] for row in table.spread(range(100), 100)]
    assert whole == [k * 706 // 100 for k in range(100)]
    assert whole == [row["n"] for part in (range(37), range(37, 100)) for row in table.spread(part, 100)]
    assert [row["n"] for row in table.spread(range(706), 706)] == list(range(706))
    assert [row["n"] for row in Table(memory=({"n": 0}, {"n": 1}, {"n": 2})).spread(range(2), 2)] == [0, 1]


def test_rows_by_number(table):
    wanted = [705, 0, 4, 5, 104, 105, 400, 0]
    assert [(n, row["n"]) for n, row in table.pick(wanted)] == [(n, n) for n in sorted(set(wanted))]


def test_rows_in_memory_are_read_the_same_way():
    table = Table(memory=({"n": 0}, {"n": 1}, {"n": 2}))
    assert [row["n"] for row in table.rows(range(1, 3))] == [1, 2] and dict(table.pick([2, 0])) == {
        0: {"n": 0},
        2: {"n": 2},
    }
    assert len(Table()) == 0 and list(Table().rows()) == []


def test_an_artifact_without_rows_is_named(tmp_path):
    with pytest.raises(InputError, match="no input for a generator"):
        Table.of(Artifact(tmp_path))
