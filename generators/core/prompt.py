"""Prompt files: one text per file, rendered by Jinja2 in a sandbox, versioned by their content.

Values are inserted as text and never parsed as templates, so a document that contains `{{ ... }}` is unchanged. A
missing value is an error, not an empty string.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from blake3 import blake3

FOLDER = Path(__file__).parents[1] / "prompts"
VERSION_HEX_DIGITS = 12
_INCLUDE = re.compile(r'\{% include "([\w/]+)\.j2" %\}')  # included when read, so that the version covers it


@dataclass(frozen=True)
class Prompt:
    """A prompt file: its name (`ultrachat/opening_world`), its text and the version that lineage records."""

    name: str
    text: str
    version: str

    def render(self, **values: Any) -> str:
        """Return the text with the values filled in, without a newline at the end.

        Raises jinja2.UndefinedError for a missing value.
        """
        return _compiled(self.text).render(**values).rstrip("\n")

    def variants(self) -> tuple[str, ...]:
        """Return the alternative texts of a file, which are separated by lines of `---`."""
        return tuple(part.strip() for part in self.text.split("\n---\n"))


@cache
def load(name: str) -> Prompt:
    """Return the prompt `folder/name`. Raises KeyError, with the known names, for another one."""
    path = FOLDER / f"{name}.j2"
    if name not in names():
        raise KeyError(f"no prompt file {name!r}; there is {', '.join(names())}")
    text = _INCLUDE.sub(lambda match: load(match[1]).text.rstrip("\n"), path.read_text(encoding="utf-8"))
    return Prompt(name, text, blake3(text.encode()).hexdigest()[:VERSION_HEX_DIGITS])


@cache
def names() -> tuple[str, ...]:
    """Return the names of all prompt files, in alphabetical order."""
    return tuple(sorted(p.relative_to(FOLDER).with_suffix("").as_posix() for p in FOLDER.rglob("*.j2")))


@cache
def _compiled(text: str) -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    env = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    return env.from_string(text)
