"""Groups: which rows belong together, as kinds state it, as rows inherit it and as it is read from a bare row."""

from __future__ import annotations

import json

import pytest

from windtunnel.generators.core.generator import Generator, Kept
from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.scripted import session
from windtunnel.generators.text.groups import document_group, group_of, text_group
from windtunnel.schemas.plugin import find, names


def asks(text: str, lineage: str | None = None) -> dict:
    return {"id": "r", "messages": [{"role": "user", "content": text}], "source": "s", "lineage": lineage}


def test_a_bare_row_is_of_the_group_of_its_question():
    assert group_of(asks("What is fog?")) == group_of(asks("what is  FOG")) != group_of(asks("What is rain?"))
    assert group_of(asks("?!")) != group_of(asks("!?"))  # nothing is left of either: they are not one question


def test_a_preference_is_of_the_group_of_its_prompts_question():
    prompt = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What is fog?"}]
    row = {"id": "p", "prompt": prompt, "chosen": [], "rejected": [], "lineage": None}
    assert group_of(row) == group_of(asks("What is fog?"))


def test_a_stated_group_comes_first_and_broken_lineage_is_none():
    assert group_of(asks("a", json.dumps({"group": "g"}))) == "g"
    for broken in ("{", "[]", '{"group": 3}', None):
        assert group_of(asks("a", broken)) == text_group("a")


def test_what_asks_nothing_is_alone():
    row = {"id": "x", "messages": [{"role": "assistant", "content": "Hm."}]}
    assert group_of(row) == "row:x" != group_of({**row, "id": "y"})


def test_a_document_is_one_group_with_the_dialogues_about_it():
    assert group_of({"id": "d", "text": "Fog."}) == document_group("d")
    assert Record({"id": "d", "text": "Fog."}, 0).origin.groups == (document_group("d"),)


def test_a_preference_inherits_the_group_of_its_prompt():
    origin = Record(asks("a", json.dumps({"group": "g", "licence": "CC0"})), 0).origin
    assert (origin.groups, origin.licences) == (("g",), ("CC0",))


@pytest.mark.parametrize("name", names("generator"))
def test_every_kind_that_makes_rows_from_rows_keeps_their_group(name):
    cls = find(Generator, name)
    for example in cls.examples:
        if not example.inputs:
            continue
        marked = {
            role: [row | {"lineage": json.dumps({"group": f"g{k}", "licence": f"l{k}"})} for k, row in enumerate(rows)]
            for role, rows in example.inputs.items()
        }
        kind = cls(**example.params)
        outcomes = list(kind.generate(session(name, kind, example.replies, marked)))
        kept = [json.loads(outcome.row["lineage"]) for outcome in outcomes if isinstance(outcome, Kept)]
        known = {(f"g{k}", f"l{k}") for rows in example.inputs.values() for k in range(len(rows))}
        assert kept and {(lineage["group"], lineage["licence"]) for lineage in kept} <= known


def test_inputs_of_one_instruction_are_one_group_in_both_layouts_and_in_alpaca():
    replies = {
        "bootstrap": [" Name the metal that each coin is made of."],
        "classify": ["Yes"],
        "example": [" Copper\nInput: a brown coin\nLabel: Silver\nInput: a white coin"],
        "tasks": [
            json.dumps(
                {"tasks": [{"instruction": "name the metal that each coin is made of", "input": "red", "output": "x"}]}
            )
        ],
    }
    groups = []
    for name, params in (("self_instruct", {"rows": 2, "lag": 1}), ("alpaca", {"rows": 1, "lag": 1})):
        kind = find(Generator, name)(model="m", **params)
        made = [o.row for o in kind.generate(session(name, kind, replies)) if isinstance(o, Kept)]
        assert len(made) == params["rows"]
        groups += [group_of(row) for row in made]
    assert set(groups) == {text_group("Name the metal that each coin is made of.")}
