"""Checks of conversations and preferences before training; each failure has a fixed reason code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from windtunnel.schemas.turns import turns

# Roles that may follow each role; None stands for the beginning.
FOLLOWS: dict[str | None, tuple[str, ...]] = {
    None: ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}

Record = Mapping[str, Any]


def conversation_problem(messages: Sequence[Record] | None) -> str | None:
    """Return the reason code of an invalid conversation, or None."""
    if not messages:
        return "no_messages"
    if problem := turns_problem(messages):
        return problem
    if any(_repeats(before, after) for before, after in pairwise(messages)):
        return "answer_equals_question"
    return None if any(message["role"] == "assistant" for message in messages) else "no_assistant_turn"


def _repeats(before: Record, after: Record) -> bool:
    """Return whether an answer says nothing but what it was asked."""
    return (
        before["role"] == "user"
        and after["role"] == "assistant"
        and after["content"].strip() == before["content"].strip()
    )


def preference_problem(row: Record) -> str | None:
    """Return the reason code of an invalid preference, or None."""
    prompt, chosen, rejected = (turns(row, column) for column in ("prompt", "chosen", "rejected"))
    if not prompt:
        return "no_prompt"
    if not chosen or not rejected:
        return "no_assistant_turn"
    for answer in (chosen, rejected):
        if problem := conversation_problem([*prompt, *answer]):
            return problem
        if answer[0]["role"] != "assistant":
            return "role_order"
        if answer[-1]["role"] != "assistant":
            return "no_assistant_turn"
    if chosen == rejected:
        return "chosen_equals_rejected"
    return None


def turns_problem(messages: Sequence[Record]) -> str | None:
    """Return the reason code of an unknown role, an invalid order of roles or an empty turn, or None."""
    before: str | None = None
    for message in messages:
        role, content = message["role"], message.get("content")
        if role not in FOLLOWS or role is None:
            return "unknown_role"
        if role not in FOLLOWS[before]:
            return "role_order"
        if content is not None and not isinstance(content, str):
            return "not_text"
        calls = role == "assistant" and message.get("tool_calls")  # which need no text beside them
        if not calls and (content is None or (role != "system" and not content.strip())):
            return f"empty_{role}_turn"
        before = role
    return None
