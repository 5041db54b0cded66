"""Prompts out of rows: what was asked, and what the row itself answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from windtunnel.generators.text.groups import group_of, lineage_of


@dataclass(frozen=True)
class Question:
    """A user's first turn (with a system message before it, if the row has one) and the answer in the row, if any."""

    messages: tuple[dict[str, str], ...]
    reference: str | None = None
    licence: str | None = None
    group: str = ""  # of the row, see windtunnel.generators.text.groups: whatever is made from it stays in it

    @property
    def text(self) -> str:
        """What the user says."""
        return self.messages[-1]["content"]


def question(row: Mapping[str, Any]) -> Question | None:
    """Return the question of a conversation, of a preference or of a document (its text); None when there is none."""
    messages: Sequence[Mapping[str, str]] = row.get("messages") or row.get("prompt") or ()
    if not messages and row.get("text"):
        messages = [{"role": "user", "content": row["text"]}]
    head: list[dict[str, str]] = []
    for i, message in enumerate(messages):
        if message["role"] not in ("system", "user") or not message["content"].strip():
            return None
        head.append({"role": message["role"], "content": message["content"]})
        if message["role"] == "user":
            after = messages[i + 1] if i + 1 < len(messages) else None
            answer = after["content"] if after and after["role"] == "assistant" else None
            # the licence of a row, too, stays with whatever is made from it
            return Question(tuple(head), answer, lineage_of(row).get("licence"), group_of(row))
    return None
