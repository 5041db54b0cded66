"""Rows of users' files: every layout and format, and what is no row counted with its place and reason."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.rows.read_rows import ReadRows, read_rows_work
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.turns import tools, turns

ASKED = {"role": "user", "content": "Why?"}
SAID = {"role": "assistant", "content": "So."}
OTHER = {"role": "assistant", "content": "No."}
FROM = (("human", "Why?"), ("gpt", "So."))
CALL = {"function": {"arguments": {"city": "Rome"}, "name": "weather"}, "id": "1", "type": "function"}


def lines(path: Path, *records: Any) -> str:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
    return str(path)


def run(work: ReadRows, out: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return (rows, unreadable) of all parts; the counts add up."""
    counts = [work.run({}, out, rank) for rank in range(len(work.parts))]
    rows = [row for file in sorted((out / "rows").iterdir()) for row in pq.read_table(file).to_pylist()]
    lost = [row for file in sorted((out / "unreadable").iterdir()) for row in pq.read_table(file).to_pylist()]
    assert sum(c.kept for c in counts) == len(rows)
    assert sum(sum(c.unreadable.values()) for c in counts) == sum(row["rows"] for row in lost)
    return rows, lost


def said(row: dict[str, Any]) -> list[tuple[str, str]]:
    columns = ("messages", "prompt", "chosen", "rejected")
    return [(turn["role"], turn["content"]) for name in columns for turn in row.get(name) or ()]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "arrow", "saved"])
@pytest.mark.parametrize(
    ("record", "layout", "turns_"),
    [
        ({"messages": [ASKED, SAID]}, "messages", ["Why?", "So."]),
        ({"conversations": [{"from": w, "value": v} for w, v in FROM]}, "sharegpt", ["Why?", "So."]),
        ({"instruction": "Add.", "input": "1 2", "output": "3"}, "alpaca", ["Add.\n\n1 2", "3"]),
        ({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, "preference", ["Why?", "So.", "No."]),
        ({"chosen": [ASKED, SAID], "rejected": [ASKED, OTHER]}, "preference", ["Why?", "So.", "No."]),
        ({"prompt": "Why?", "completion": "So.", "label": False}, "kto", ["Why?", "So."]),
        ({"messages": [ASKED, SAID], "label": False}, "messages", ["Why?", "So."]),
        ({"conversations": [{"from": w, "value": v} for w, v in FROM], "label": True}, "sharegpt", ["Why?", "So."]),
        ({"instruction": "Add.", "input": "1 2", "output": "3", "label": False}, "kto", ["Add.\n\n1 2", "3"]),
    ],
)  # fmt: skip
def test_layouts_are_recognised_in_every_format(record, layout, turns_, suffix, tmp_path):
    path = tmp_path / f"mine.{suffix}"
    source = "hf" if suffix == "saved" else suffix
    if suffix == "jsonl":
        lines(path, record)
    elif suffix == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(record))
            writer.writeheader()
            writer.writerow({k: v if isinstance(v, str) else json.dumps(v) for k, v in record.items()})
    elif suffix == "parquet":
        pq.write_table(pa.Table.from_pylist([record]), path)
    elif suffix == "arrow":
        table = pa.Table.from_pylist([record])
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    else:
        import datasets

        datasets.Dataset.from_list([record]).save_to_disk(str(path))
    work = read_rows_work({source: str(path)})
    assert list(work.layout) == [layout]
    (row,), lost = run(work, tmp_path / "out")
    assert [content for _, content in said(row)] == turns_ and not lost
    assert json.loads(row["lineage"])["where"] and row.get("label") == record.get("label")


def test_what_templates_know_of_a_turn_is_kept(tmp_path):
    call = {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 1}
    result = {"role": "tool", "content": "sunny", "tool_call_id": "1"}
    system = {"role": "system", "content": "Be brief."}
    offered = [{"type": "function", "function": {"name": "weather"}}]
    file = lines(
        tmp_path / "a.jsonl",
        {"messages": [system, ASKED, {**call, "thinking": "Look it up."}, result, SAID], "tools": json.dumps(offered)},
    )
    (row,), _ = run(read_rows_work({"jsonl": file}), tmp_path / "out")
    call = {"role": "assistant", "content": "", "reasoning_content": "Look it up.", "tool_calls": [CALL]}
    assert turns(row) == [system, ASKED, call, result, SAID]
    assert tools(row) == offered
    assert said(row)[2] == ("assistant", "")  # readers of plain messages see what they know


def test_columns_that_no_row_is_made_of_are_told(tmp_path):
    row = {"id": 3, "instruction": "a", "output": "b", "rate\x1b": 5, "empty": None}
    work = read_rows_work({"jsonl": {"path": lines(tmp_path / "a.jsonl", *[row] * 200), "source": "from"}})
    assert work.run({}, tmp_path / "out", 0).notes["columns_not_read"] == "rate\\x1b" == work.first(10)[1]
    assert len(work.first(10)[0]) == 10


def test_a_label_that_is_no_verdict_is_none(tmp_path):
    topic, stars = {"messages": [ASKED, SAID], "label": "rivers"}, {"messages": [ASKED, SAID], "label": 4}
    file = lines(tmp_path / "a.jsonl", topic, stars, {**topic, "label": "True"}, {**topic, "label": float("nan")})
    rows, lost = run(read_rows_work({"jsonl": file}), tmp_path / "out")
    assert [row["label"] for row in rows] == [None, True, None]
    assert len(lost) == 1 and "label_not_boolean" in str(lost) and "label: null" in str(lost)
    file = lines(tmp_path / "b.jsonl", {"text": "Why?", "label": "true"})
    (row,), lost = run(
        read_rows_work({"jsonl": file}, {"completion": {"prompt": "text", "completion": "label"}}), tmp_path
    )
    assert row["label"] is None and said(row)[1] == ("assistant", "true")
    assert read_rows_work({"jsonl": lines(tmp_path / "c.jsonl", topic)}).first(1)[1] == "label"


BAD = {
    "other_layout": {"instruction": "a", "output": "b"},
    "unknown_layout": {"words": 3},
    "no_messages": {"messages": []},
    "messages_not_a_list": {"messages": 7},
    "message_not_an_object": {"messages": ["a"]},
    "unknown_role": {"messages": [{"role": "alien", "content": "a"}]},
    "content_not_text": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    "no_content": {"messages": [{"role": "user", "content": None}]},
    "lone_surrogate": '{"messages": [{"role": "user", "content": "\\ud800"}]}',
    "tool_calls_not_a_list": {"messages": [ASKED, {**SAID, "tool_calls": float("nan")}]},
    "field_not_text": {"messages": [ASKED, {**SAID, "reasoning_content": ["a"]}]},
    "turn_not_to_learn": {"messages": [ASKED, {**SAID, "weight": 0}]},
    "tools_not_a_list": {"messages": [ASKED, SAID], "tools": 3},
    "invalid_json": "{no",
    "not_an_object": "[1]",
}


def test_every_record_that_is_no_row_is_counted_with_its_place(tmp_path):
    file = lines(tmp_path / "a.jsonl", {"messages": [ASKED, SAID]}, *BAD.values(), {"messages": [SAID, ASKED]})
    rows, lost = run(read_rows_work({"jsonl": file}), tmp_path / "out")
    assert [(bad["error"], bad["where"]) for bad in lost] == [(r, f"a.jsonl:{n}") for n, r in enumerate(BAD, start=2)]
    assert "alpaca" in lost[0]["detail"] and "words" in lost[1]["detail"]
    assert len(rows) == 2  # turns out of order are a matter of cleaning and of training, which count them


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "chosen_equals_rejected"),
        ({"prompt": "a", "chosen": float("nan"), "rejected": "b"}, "text_not_string"),
        ({"chosen": [ASKED, SAID], "rejected": [{**ASKED, "content": "?"}, SAID]}, "prompts_differ"),
        ({"prompt": "a", "completion": "b", "label": float("nan")}, "label_not_boolean"),
        ({"instruction": "a", "output": 3}, "text_not_string"),
        ({"instruction": "a", "output": "b", "history": "x"}, "history_not_pairs"),
        ({"conversations": [{"from": "function_call", "value": "{}"}]}, "no_tool_call"),
    ],
)
def test_further_records_that_are_no_rows(record, reason, tmp_path):
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "a.parquet")
    work = read_rows_work({"parquet": str(tmp_path / "a.parquet")})
    rows, lost = run(work, tmp_path / "out")
    assert not rows and [bad["error"] for bad in lost] == [reason]
    with pytest.raises(InputError, match=f"nothing could be read: 1 records .* {reason}"):
        work.finish({}, tmp_path / "out")


def test_long_turns_stay_and_too_long_records_are_counted(tmp_path):
    long = {"messages": [ASKED, {**SAID, "content": "word " * 400_000}]}
    file = lines(tmp_path / "a.jsonl", long, long)
    assert len(run(read_rows_work({"jsonl": file}), tmp_path / "out")[0]) == 2
    rows, lost = run(read_rows_work({"jsonl": {"path": file, "max_document_bytes": 1000}}), tmp_path / "less")
    assert not rows and [bad["error"] for bad in lost] == ["too_large"] * 2


def test_an_unknown_layout_fails_when_it_is_planned_and_names_the_columns(tmp_path):
    file = lines(tmp_path / "a.jsonl", {"ask": "Why?", "re\x1bply": "So."})
    with pytest.raises(InputError, match=r"columns are ask, re\\x1bply.*layout: \{completion"):
        read_rows_work({"jsonl": file})
    with pytest.raises(InputError, match="does not have the layout 'alpaca'"):
        read_rows_work({"jsonl": file}, "alpaca")
    rows, _ = run(
        read_rows_work({"jsonl": file}, {"completion": {"prompt": "ask", "completion": "re\x1bply"}}), tmp_path / "o"
    )
    assert [content for _, content in said(rows[0])] == ["Why?", "So."]
    with pytest.raises(RecipeError, match=r"samples.*gives documents; rows are read by"):
        read_rows_work({"samples": "code"})
    with pytest.raises(InputError, match="hold no record at all"):
        empty = read_rows_work({"jsonl": lines(tmp_path / "empty.jsonl", "")})
        run(empty, tmp_path / "empty")
        empty.finish({}, tmp_path / "empty")
