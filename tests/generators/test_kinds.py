"""Every kind of generator: found by its file's name, tried on its own examples, resident in the house."""

import ast
import json
from pathlib import Path

import pytest

from windtunnel.generators.core.generator import Generator
from windtunnel.generators.core.prompt import names as prompt_names
from windtunnel.generators.core.scripted import play
from windtunnel.schemas import plugin
from windtunnel.schemas.records import CONVERSATION, PREFERENCE

KINDS = plugin.names("generator")


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_does_what_its_examples_say(name):
    cls = plugin.find(Generator, name)
    assert cls.examples, "every kind carries a tiny example of what goes in and what comes out"
    for example in cls.examples:
        kept, dropped = play(name, cls, example)
        assert kept == [list(row) for row in example.kept]
        assert dropped == dict(example.dropped)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_has_a_schema_that_the_ecosystem_reads_and_prompts_that_exist(name):
    cls = plugin.find(Generator, name)
    assert cls.output in (CONVERSATION, PREFERENCE)
    assert set(cls.prompts) <= set(prompt_names())
    for example in cls.examples:
        kind = cls(**example.params)
        json.dumps(kind.fingerprint())
        assert type(kind)(**json.loads(kind.model_dump_json())) == kind  # recipes travel as JSON


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_names_every_prompt_it_loads(name):
    """A prompt that is used and not named would change rows without changing the artifact's key."""
    cls = plugin.find(Generator, name)
    source = Path(__import__(cls.__module__, fromlist=["x"]).__file__).read_text(encoding="utf-8")
    folders = {f.partition("/")[0] for f in prompt_names()}
    literal = [n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    used = [text for text in literal if text.partition("/")[0] in folders and text in prompt_names()]
    assert set(used) <= set(cls.prompts)
