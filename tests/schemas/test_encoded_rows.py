"""Shares of sets after encoding: which miss the recipe's, and by whose fault."""

from __future__ import annotations

import pytest

from windtunnel.schemas.encoded_rows import missed_share, refused_words
from windtunnel.schemas.results import EncodedSet


def part(name: str, kept: int, rows: int = 0, role: str = "conversations", **refused: int) -> EncodedSet:
    rows = rows or kept + sum(refused.values())
    return EncodedSet(
        role=role, set=name, source="s", rows=rows, kept=kept, tokens=2 * kept, bytes=9 * kept, refused=refused
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
    shares = {"conversations": {"one": 0.5, "two": 0.5}, "preferences": {"a": 0.3, "b": 0.7}}
    assert missed_share([part("one", 5), part("two", 5)], shares, "rows", 0.05) == ""
    assert "a has 0.0% of its preferences" in missed_share([part("b", 5, role="preferences")], shares, "rows", 0.05)


def test_refusals_are_said_by_set():
    parts = [part("one", 5, too_long=2), part("one", 1, too_long=1, no_prompt=1), part("two", 3)]
    assert refused_words(parts) == "4 of 10 conversations of one (too_long 3, no_prompt 1)"
    assert refused_words([part("two", 3)]) == ""
