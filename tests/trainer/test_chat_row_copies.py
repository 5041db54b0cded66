"""Copies of a row in a mix are encoded as it is, and a long one that is refused is not tried again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.schemas.records import CONVERSATION, OWN_CONVERSATION
from windtunnel.trainer.data.chat_errors import ChatError
from windtunnel.trainer.data.chat_rows import LONG, EncodedRow, Rows, write_rows
from windtunnel.trainer.data.packing import Row
from windtunnel.trainer.rollouts.prompts import Prompts


def test_a_long_row_that_is_refused_is_tried_once_whatever_its_copies(tmp_path: Path) -> None:
    texts = {"long": "x" * LONG, "other": "y" * LONG, "short": "z"}
    rows = [
        {"id": f"{name}{copy}", "messages": [{"role": "user", "content": text}], "source": "s"}
        for copy in ("", "~2", "~3")
        for name, text in texts.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=CONVERSATION), tmp_path / "rows.parquet")
    tried = Counter[str]()

    def encode(record: Any) -> Any:
        content = record["messages"][0]["content"]
        tried[content[0]] += 1
        raise ChatError("too_long", content[0])

    counts = write_rows("conversations", [tmp_path / "rows.parquet"], encode, tmp_path / "out")
    assert counts.dropped == {"too_long": 9} and tried == {"x": 1, "y": 1, "z": 3}
    dropped = pq.read_table(tmp_path / "out" / "dropped.parquet").to_pylist()
    assert [row["detail"] for row in dropped] == ["x", "y", "z"] * 3


def test_a_row_of_two_sets_is_a_row_of_each_and_one_of_both(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    told = [
        ("a", "first", None),
        ("b", "first", False),
        ("b", "first", False),
        ("a", "second", None),
        ("c", "second", True),
    ]
    rows = [{"id": i, "messages": turns, "source": "s", "set": name, "label": label} for i, name, label in told]
    schema = OWN_CONVERSATION.append(pa.field("set", pa.string()))
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "rows.parquet")

    def encode(record: Any) -> EncodedRow:
        return EncodedRow(Row.of([1, 2], [False, True]), 3)

    counts = write_rows("prompts", [tmp_path / "rows.parquet"], encode, tmp_path / "out")
    assert (counts.kept, counts.dropped) == (4, {"duplicate_id": 1})
    wanted = {(): ["a", "b", "c"], ("first",): ["a", "b"], ("second",): ["a", "c"]}
    for sets, ids in wanted.items():
        chosen = Rows(tmp_path / "out", sets)
        prompts = Prompts(chosen, [tmp_path / "rows.parquet"])
        answers = [prompts.prompt(k) for k in range(len(chosen))]
        assert chosen.ids.to_pylist() == [each.id for each in answers] == ids
        assert [each.answer for each in answers] == [None if i == "b" else "So." for i in ids]
        assert all(each.messages == turns[:1] for each in answers)
    both = {part.set: part.refused for part in Rows(tmp_path / "out").encoded("conversations")}
    assert both == {"first": {"duplicate_id": 1}, "second": {"in_an_earlier_set": 1}}
    (second,) = Rows(tmp_path / "out", ["second"]).encoded("conversations", "sft")
    assert (second.stage, second.rows, second.kept, second.refused) == ("sft", 2, 2, {})
