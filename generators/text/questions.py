"""Questions of rows: the user's first turn, and the answer that the row itself holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Question:
    """A user's first turn, after the system message of the row if it has one, and the row's answer, if any."""

    messages: tuple[dict[str, str], ...]
    reference: str | None = None

    @property
    def text(self) -> str:
        """The user's message."""
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
            return Question(tuple(head), after["content"] if after and after["role"] == "assistant" else None)
    return None
