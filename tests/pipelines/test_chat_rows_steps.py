"""The steps that split, mix and join generated rows: by question, by weight, in order, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.generators.text.groups import group_of, normal, text_group
from windtunnel.pipelines.datasets.chat_split import ChatSplit
from windtunnel.pipelines.datasets.mix_rows import MixRows
from windtunnel.pipelines.datasets.union import Union
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import CONVERSATION


def conversations(folder: Path, rows: list[tuple[str, str, str]], shards: int = 2) -> Artifact:
    """Write (id, question, answer) as an artifact of conversations."""
    (folder / "rows").mkdir(parents=True)
    for rank in range(shards):
        lines = [
            {
                "id": name,
                "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}],
                "source": "s",
                "lineage": "{}",
            }
            for name, asked, said in rows[rank::shards]
        ]
        pq.write_table(pa.Table.from_pylist(lines, CONVERSATION), folder / "rows" / f"{rank:05d}.parquet")
    return Artifact(folder)


def run(work, inputs: dict[str, Artifact], out: Path):
    counts = [work.run(inputs, out, rank) for rank in range(work.shards(inputs))]
    rows = [row for file in sorted((out / "rows").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    return counts, rows


def test_the_same_question_goes_to_one_side_in_every_set(tmp_path):
    one = conversations(tmp_path / "one", [(f"a{k}", f"What is {k}?", "x") for k in range(200)])
    two = conversations(tmp_path / "two", [(f"b{k}", f"  what IS {k} ", "y") for k in range(200)])
    inputs = {"rows:one": one, "rows:two": two}
    sides = {}
    for side in ("held_out", "train"):
        counts, rows = run(ChatSplit(side=side, share=0.2, salt="s"), inputs, tmp_path / side)
        assert sum(c.seen for c in counts) == 400
        other = {"held_out": "train", "train": "held_out"}[side]
        assert all(c.dropped == {other: c.seen - c.kept} for c in counts)
        sides[side] = {row["id"] for row in rows}
        assert {n[1:] for n in sides[side] if n[0] == "a"} == {n[1:] for n in sides[side] if n[0] == "b"}
    assert not sides["held_out"] & sides["train"]
    assert len(sides["held_out"] | sides["train"]) == 400
    assert 50 <= len(sides["held_out"]) <= 110  # 80 wanted; 3 standard errors of 200 questions


def test_the_side_does_not_depend_on_the_other_rows_and_changes_with_the_salt(tmp_path):
    whole = conversations(tmp_path / "whole", [(f"a{k}", f"What is {k}?", "x") for k in range(100)])
    half = conversations(tmp_path / "half", [(f"a{k}", f"What is {k}?", "x") for k in range(50)], shards=1)
    names = []
    for number, (artifact, salt) in enumerate(((whole, "s"), (half, "s"), (whole, "t"))):
        _, rows = run(ChatSplit(side="held_out", share=0.3, salt=salt), {"rows": artifact}, tmp_path / str(number))
        names.append({row["id"] for row in rows})
    assert names[1] == {name for name in names[0] if int(name[1:]) < 50}
    assert names[2] != names[0]


@pytest.mark.parametrize("text", ["Wie heißt du?", "wie HEISST du", "ＷＩＥ heisst du!"])
def test_case_width_and_punctuation_make_no_other_question(text):
    assert normal(text) == "wieheisstdu"


def test_rows_are_mixed_by_bytes_of_answers(tmp_path):
    inputs = {
        "rows:few": conversations(tmp_path / "few", [(f"f{k}", "q", "x" * 100) for k in range(10)]),
        "rows:many": conversations(tmp_path / "many", [(f"m{k}", "q", "x" * 10) for k in range(1000)]),
    }
    counts, rows = run(MixRows(weights={"few": 3.0, "many": 1.0}), inputs, tmp_path / "mix")
    said = {letter: sum(len(r["messages"][1]["content"]) for r in rows if r["id"][0] == letter) for letter in "fm"}
    assert said["f"] == 1000  # the scarcest is whole
    assert said["m"] == pytest.approx(333, abs=10)
    assert counts[0].dropped == {"over_weight": counts[0].seen - counts[0].kept}
    _, smaller = run(MixRows(weights={"few": 6.0, "many": 1.0}), inputs, tmp_path / "smaller")
    assert {row["id"] for row in smaller} < {row["id"] for row in rows}


def test_a_repeated_row_is_counted_where_it_goes(tmp_path):
    rows = [("same", "q", "x" * 10), ("other", "q", "x" * 10), ("same", "q", "x" * 10)]
    (counts,), kept = run(
        MixRows(weights={"a": 1.0}), {"rows:a": conversations(tmp_path / "a", rows)}, tmp_path / "mix"
    )
    assert sorted(row["id"] for row in kept) == ["other", "same"]
    assert (counts.seen, counts.kept, counts.dropped) == (3, 2, {"repeated": 1})


def test_a_union_keeps_every_row_in_the_order_of_roles(tmp_path):
    inputs = {
        "b": conversations(tmp_path / "b", [("b0", "q", "x"), ("b1", "q", "x")]),
        "a": conversations(tmp_path / "a", [("a0", "q", "x")], shards=1),
    }
    counts, rows = run(Union(folder="rows"), inputs, tmp_path / "union")
    assert [row["id"] for row in rows] == ["a0", "b0", "b1"]
    assert sum(c.kept for c in counts) == 3


def siblings(folder: Path, groups: int, each: int = 3, shards: int = 2) -> Artifact:
    """Rows of instructions with several inputs, as Self-Instruct makes them: the questions differ, the group is one."""
    rows = [(f"g{g}i{i}", f"Do task {g} to input {i}.", "x") for g in range(groups) for i in range(each)]
    made = conversations(folder, rows, shards)
    for file in made.files("rows"):
        table = pq.read_table(file)
        stated = [json.dumps({"group": name.partition("i")[0]}) for name in table["id"].to_pylist()]
        at = table.schema.get_field_index("lineage")
        pq.write_table(table.set_column(at, table.schema.field(at), pa.array(stated)), file)
    return made


def test_rows_of_one_instruction_stay_on_one_side(tmp_path):
    inputs = {"rows:one": siblings(tmp_path / "one", 300)}
    _, held = run(ChatSplit(side="held_out", share=0.2), inputs, tmp_path / "held")
    _, train = run(ChatSplit(side="train", share=0.2), inputs, tmp_path / "train")
    assert len(held) + len(train) == 900
    assert not {row["group"] for row in held} & {row["group"] for row in train}
    assert all(row["group"] == row["id"].partition("i")[0] for row in held)
    assert 40 <= len({row["group"] for row in held}) <= 80  # 60 wanted; 3 standard errors of 300 groups


def test_no_training_row_asks_what_a_held_out_row_of_another_group_asks(tmp_path):
    one = siblings(tmp_path / "one", 200)
    two = conversations(tmp_path / "two", [(f"b{g}", f"do TASK {g} to input 1", "y") for g in range(200)])
    _, held = run(ChatSplit(side="held_out", share=0.3), {"rows:one": one}, tmp_path / "held")
    inputs = {"rows:two": two, "held_out:one": Artifact(tmp_path / "held")}
    counts, train = run(ChatSplit(side="train", share=0.3), inputs, tmp_path / "train")
    asked = {normal(row["messages"][0]["content"]) for row in held}
    assert asked and not asked & {normal(row["messages"][0]["content"]) for row in train}
    assert sum(c.dropped["asked_in_held_out"] for c in counts) > 0
    assert sum(c.seen for c in counts) == 200


def test_an_instruction_is_one_group_with_the_set_that_asks_it_alone(tmp_path):
    """Self-Instruct states the hash of the instruction: the same words as another set's question are the same group."""
    bare = conversations(tmp_path / "bare", [("b", "Sort these words.", "x")], shards=1)
    assert group_of(pq.read_table(bare.files("rows")[0]).to_pylist()[0]) == text_group("sort THESE words")
