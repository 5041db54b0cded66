"""Asks that every line of a reply is short.

In a file of prompts: `{"prompt": "...", "constraints": [{"new_part": {"longest": 60}}]}`
In a recipe: `evaluate: {tasks: [{constraints: {file: prompts.jsonl, own: [./new_part.py:NewPart]}}]}`
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Constraint, Example


class NewPart(Constraint):
    """A greatest length of lines."""

    version: ClassVar[int] = 1  # raise it whenever the same replies are judged otherwise
    longest: int = Field(80, ge=1)  # characters of a line

    # Parameters, a reply that keeps to them and one that does not: `windtunnel check constraint ./new_part.py:NewPart`
    examples: ClassVar[tuple[Example, ...]] = (Example({"longest": 5}, "Short\nlines", "A longer line"),)

    def holds(self, reply: str) -> bool:
        """Return whether a reply keeps to the constraint."""
        return all(len(line) <= self.longest for line in reply.splitlines())
