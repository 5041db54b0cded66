"""Shares of sets after encoding: which miss the recipe's, and by whose fault."""

from __future__ import annotations

import json

import pytest

from windtunnel.schemas.encoded_rows import encoded_of, missed_share, refused_words
from windtunnel.schemas.results import EncodedSet


def part(
    name: str, kept: int, rows: int = 0, role: str = "conversations", stage: str = "", **refused: int
) -> EncodedSet:
    rows = rows or kept + sum(refused.values())
    return EncodedSet(
        role=role,
        stage=stage,
        set=name,
        source="s",
        rows=rows,
        kept=kept,
        tokens=2 * kept,
        bytes=9 * kept,
        refused=refused,
    )


@pytest.mark.parametrize("by", ["tokens", "bytes", "rows"])
@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ((50, 50), ""),
        ((54, 46), ""),
        ((60, 40), "two has 40.0% of its conversations, the recipe gives it 50.0%"),
        ((50, 0), "two has 0.0%"),
    ],
)
def test_the_set_that_lacks_rows_is_named(kept, said, by):
    parts = [part("one", kept[0]), part("two", kept[1])]
    found = missed_share(parts, {"conversations": {"one": 0.5, "two": 0.5}}, by, 0.05)
    assert said in found and bool(found) == bool(said)


def test_what_no_stage_learns_from_misses_nothing():
    prompts = [part("one", 9).model_copy(update={"tokens": 0, "bytes": 0}), part("two", 0, too_long=9)]
    assert missed_share(prompts, {"conversations": {"one": 0.5, "two": 0.5}}, "bytes", 0.05) == ""
    shares = {"conversations": {"one": 0.5, "two": 0.5}, "preferences": {"a": 0.3, "b": 0.7}}
    assert missed_share([part("one", 5), part("two", 5)], shares, "rows", 0.05) == ""
    parts = [part("a", 0, role="preferences", too_long=5), part("b", 5, role="preferences")]
    assert "a has 0.0% of its preferences" in missed_share(parts, shares, "rows", 0.05)


HALVES = {"conversations": {"ours": 0.5, "thumbs": 0.5}}


@pytest.mark.parametrize(
    ("sft", "kto", "missed", "refused"),
    [
        ([part("ours", 90)], [part("thumbs", 50)], "", ""),
        ([part("ours", 90), part("thumbs", 40, undesirable_answer=50)], [part("thumbs", 90)], "", ""),
        (
            [part("ours", 90), part("thumbs", 40, undesirable_answer=50)],
            [part("ours", 0, no_label=90), part("thumbs", 89, too_long=1)],
            "",
            "1 of 90 conversations of thumbs for kto (too_long 1)",
        ),
        (
            [part("ours", 90), part("thumbs", 40, undesirable_answer=50)],
            [],
            "thumbs has 30.8% of its conversations",
            "50 of 90 conversations of thumbs (undesirable_answer 50)",
        ),
        (
            [part("ours", 90), part("thumbs", 90)],
            [part("ours", 90), part("thumbs", 10, too_long=80)],
            "thumbs has 10.0% of the kto conversations, the recipe gives it 50.0%",
            "80 of 90 conversations of thumbs for kto (too_long 80)",
        ),
    ],
)
def test_each_stage_has_the_shares_of_the_sets_that_it_reads(sft, kto, missed, refused):
    named = zip(("sft", "kto"), (sft, kto), strict=True)
    parts = [each.model_copy(update={"stage": stage}) for stage, own in named for each in own]
    found = missed_share(parts, HALVES, "rows", 0.05)
    assert found.startswith(missed) and bool(found) == bool(missed)
    assert refused_words(parts) == refused


def test_every_stage_of_a_run_is_told_and_held_out_rows_once(tmp_path):
    held = [part("", 9, role="held_out_conversations"), part("", 8, role="held_out_conversations", too_long=1)]
    files = {"stage0": [part("ours", 3, stage="sft"), held[1]], "stage1": [part("thumbs", 4, stage="kto"), held[1]]}
    files["."] = [part("ours", 5, stage="sft"), held[0]]
    for folder, parts in files.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "encoded.json").write_text(json.dumps([each.model_dump() for each in parts]))
    found = encoded_of(tmp_path)
    assert [(each.stage, each.kept) for each in found] == [("sft", 3), ("kto", 4), ("sft 3", 5), ("", 9)]


def test_refusals_are_said_by_set():
    parts = [part("one", 5, too_long=2), part("one", 1, too_long=1, no_prompt=1), part("two", 3)]
    assert refused_words(parts) == "4 of 10 conversations of one (too_long 3, no_prompt 1)"
    assert refused_words([part("two", 3)]) == ""
