"""Rewards that code computes: what counts as the row's answer, and schemas that lead out of themselves."""

from __future__ import annotations

import pytest

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.rewards._reward import Reply, Reward, Verifier


def verifier(spec: dict) -> Verifier:
    made = make(Reward, spec)  # type: ignore[type-abstract]
    assert isinstance(made, Verifier)
    return made


def given(text: str, answer: str | None = None) -> Reply:
    return Reply("row", [{"role": "user", "content": "Which?"}], text, answer)


@pytest.mark.parametrize(
    ("text", "answer", "is_right"),
    [
        ("It is 5.", "5", True),
        ("5", "-5", False),
        ("-5", "5", False),
        ("\u22125", "-5", True),
        ("3-5 or 3–5", "5", True),
        ("0.5", "5", False),
        ("3 5", "3.5", False),
        ("5%", "5", False),
        ("1st", "1", False),
        ("1,000km", "1", False),
        ("3.5a", "3", False),
        ("€5 in 1,000 days", "1,000", True),
        ("C", "C++", False),
        ("It's C++!", "c++", True),
        ("F#", "F", False),
        ("In New York, yes", "new york", True),
        ("I don't know", "don't", True),
        ("which?", "?", False),
        ("", "+", False),
        ("a + b", "+", True),
        ("", "...", False),
        ("...", "...", True),
    ],
)
def test_an_answer_among_other_words(text: str, answer: str, is_right: bool) -> None:
    assert verifier({"exact": "contains"}).reward(given(text, answer)) == is_right


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"$ref": "#/nope"}, "leads nowhere within the schema"),
        ({"items": {"$ref": "http://127.0.0.1:9/schema"}}, "leads nowhere within the schema, and nothing is fetched"),
        ({"$ref": "#"}, "leads to itself"),
        ({"type": "nope"}, "no JSON Schema"),
    ],
)
def test_schemas_that_no_reply_can_be_held_against(schema: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        verifier({"json_schema": {"expect": schema}})


def test_a_reference_within_a_schema_is_followed() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/year"}}, "$defs": {"year": {"type": "integer"}}}
    year = verifier({"json_schema": {"expect": schema}})
    assert [year.reward(given(text)) for text in ('{"a": 1843}', '{"a": "1843"}')] == [1.0, 0.0]
