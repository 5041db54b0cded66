"""Reads rows that hold a question and an answer in two columns.

In a recipe: `rows: {mine: {source: {jsonl: FILE}, layout: ./new_part.py:NewPart}}`
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Layout, Record, Refused


class NewPart(Layout):
    """Columns `ask` and `reply`; a row without a reply is refused."""

    version: ClassVar[int] = 1  # raise it whenever the same records give other rows

    # Records and the turns that come out: `windtunnel check layout ./new_part.py:NewPart` runs them.
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"ask": "Why?", "reply": "So."}, (("user", "Why?"), ("assistant", "So."))),
        Example({"ask": "Why?", "reply": None}, refused="no_reply"),
    )
    ask: str = "ask"
    reply: str = "reply"

    def fits(self, columns: Collection[str]) -> bool:
        """Return whether both columns are there."""
        return self.ask in columns and self.reply in columns

    def row(self, record: Record) -> Chat:
        """Return the two turns of a record."""
        if not isinstance(record.get(self.reply), str):
            raise Refused("no_reply", f"field {self.reply!r} is no text")
        question = {"role": "user", "content": str(record.get(self.ask))}
        return Chat([question, {"role": "assistant", "content": record[self.reply]}])
