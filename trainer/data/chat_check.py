"""What makes a conversation or a preference unfit to learn from: one word per reason, the same in every count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Who may speak after whom; the key None stands for the beginning.
FOLLOWS: dict[str | None, tuple[str, ...]] = {
    None: ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}

Record = Mapping[str, Any]


def conversation_problem(messages: Sequence[Record] | None) -> str | None:
    """Return why a conversation cannot be learnt from, or None."""
    if not messages:
        return "no_messages"
    problem = turns_problem(messages)
    if problem:
        return problem
    if not any(message["role"] == "assistant" for message in messages):
        return "no_assistant_turn"
    return None


def preference_problem(row: Record) -> str | None:
    """Return why a preference cannot be learnt from, or None; reasons of both answers come before those of one."""
    prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
    if not prompt:
        return "no_prompt"
    if not chosen or not rejected:
        return "no_assistant_turn"
    for answer in (chosen, rejected):
        problem = conversation_problem([*prompt, *answer])
        if problem:
            return problem
        if answer[0]["role"] != "assistant":
            return "role_order"
        if answer[-1]["role"] != "assistant":
            return "no_assistant_turn"
    if [m["content"] for m in chosen] == [m["content"] for m in rejected]:
        return "chosen_equals_rejected"
    return None


def turns_problem(messages: Sequence[Record]) -> str | None:
    """Return what is wrong with the turns one by one: unknown roles, roles out of order, nothing said."""
    before: str | None = None
    for message in messages:
        role, content = message["role"], message["content"]
        if role not in FOLLOWS or role is None:
            return "unknown_role"
        if role not in FOLLOWS[before]:
            return "role_order"
        if content is None or (role != "system" and not content.strip()):
            return f"empty_{role}_turn"
        before = role
    return None
