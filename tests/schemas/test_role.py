"""Roles and step names: one text form, one strict parser, and look-ups of inputs by kind."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.pipelines.engine.step import Step
from windtunnel.schemas.role import (
    Role,
    StepName,
    by_name,
    in_number_order,
    name_in_directory,
    numbered,
    of_kind,
    runs,
    word_for,
)
from windtunnel.schemas.work import Work

KINDS = st.from_regex(r"[a-z0-9_][a-zA-Z0-9_.-]{0,20}", fullmatch=True)
NAMES = st.text(min_size=1, max_size=30).filter(lambda name: ":" not in name)


@given(KINDS, st.lists(NAMES, max_size=4), st.sampled_from([Role, StepName]))
def test_the_text_of_a_name_is_parsed_to_the_same_name(kind: str, names: list[str], cls: type[Role]) -> None:
    name = cls(kind, *names)
    text = ":".join([kind, *names])
    assert name == text and hash(name) == hash(text) and {text: 1}[name] == 1
    assert (name.kind, name.names) == (kind, tuple(names))
    for again in (cls.parse(text), pickle.loads(pickle.dumps(name)), copy.deepcopy(name)):
        assert type(again) is cls and again == name
    assert json.loads(json.dumps({name: name})) == {text: text}


@given(st.text(max_size=30))
def test_a_text_is_a_name_of_parts_or_an_error(text: str) -> None:
    try:
        name = Role.parse(text)
    except ValueError:
        parts = text.split(":")
        assert not all(parts) or Role.parse("ok:" + ":".join(parts)).names == tuple(parts)  # only the kind was wrong
    else:
        assert str(name) == text and ":".join((name.kind, *name.names)) == text


@pytest.mark.parametrize("text", ["", ":", "a:", ":a", "a::b", "a b", "ä:x", "-a", ".a", "a\n", "a/b:c"])
def test_wrong_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"kind|is not a name"):
        StepName.parse(text)


@pytest.mark.parametrize("parts", [("a:b",), ("a", "b:c"), ("a", ""), ("", "a")])
def test_a_part_has_no_colon(parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        Role(*parts)


def test_names_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Role("tokens", "web").kind = "other"  # type: ignore[misc]


def test_what_is_compared_is_called_by_what_it_differs_in() -> None:
    assert [word_for(*names) for names in (("ab", ""), ("a", "xy"), ("ab", "xy"))] == ["mix", "variant", "training"]


def test_inputs_by_kind_name_run_and_number() -> None:
    inputs = {"run:b.v1:-1": 1, "run:a:0": 2, "tokens:web.en": 3, "tokens": 4, "mix": 5, "tokens:a:b": 6}
    assert of_kind(inputs, "tokens") == {"tokens:web.en": 3, "tokens": 4, "tokens:a:b": 6}
    assert by_name(inputs, "tokens") == {"web.en": 3}
    assert list(runs(inputs).items()) == [(("b.v1", "-1"), 1), (("a", "0"), 2)]
    measures = numbered("measures", "abcdefghijkl")
    assert list(measures)[:2] == ["measures1", "measures2"]
    shuffled = dict(sorted(measures.items())) | {"measures": "first", "documents": "other"}
    assert in_number_order(shuffled, "measures") == ["first", *"abcdefghijkl"]
    for wrong in ("measures_1", "measuresX", "measures:1"):
        with pytest.raises(ValueError, match="neither 'measures' nor"):
            in_number_order({**measures, wrong: "x"}, "measures")


def test_a_step_takes_its_name_as_text_and_names_its_directory() -> None:
    step = Step("train:web.v2:0", Work())  # type: ignore[arg-type]
    assert (step.kind, step.name.names) == ("train", ("web.v2", "0"))
    assert step.directory == f"train.web.v2.0-{step.key[:8]}"
    assert name_in_directory(Step(StepName("corpus", "web-1.v2"), Work()).directory) == "web-1.v2"
    assert name_in_directory("held_out-0123abcd") == "" and name_in_directory("") == ""


def test_a_selector_means_a_step_a_kind_or_the_beginning_of_its_names() -> None:
    name = StepName("train", "web", 0)
    assert all(name.within(selector) for selector in ("train", "train:web", "train:web:0"))
    assert not any(name.within(selector) for selector in ("trai", "train:we", "train:web:", "train:web:0:1", ""))
