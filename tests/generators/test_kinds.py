"""Every built-in kind of generator names its prompts; its examples are run by tests/test_parts.py."""

import ast
from pathlib import Path

import pytest

from windtunnel.generators.core.generator import Generator
from windtunnel.generators.core.prompt import names as prompt_names
from windtunnel.schemas import plugin

KINDS = plugin.names("generator")


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_names_every_prompt_it_loads(name):
    """A prompt that is used and not named would change rows without changing the artifact's key."""
    cls = plugin.find(Generator, name)
    source = Path(__import__(cls.__module__, fromlist=["x"]).__file__).read_text(encoding="utf-8")
    folders = {f.partition("/")[0] for f in prompt_names()}
    literal = [n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    used = [text for text in literal if text.partition("/")[0] in folders and text in prompt_names()]
    assert set(used) <= set(cls.prompts)
