"""Turns with more than a role and a text: reasoning, tool calls and their results, and the tools of a conversation.

Columns of messages hold role and content, the form that every reader of chat data takes. What else a turn has is kept
in the column `extras` of its row, a JSON object, null for most rows: `{"tools": [...], "messages": {"1": {"tool_calls":
[...]}}}`, by column and position. Templates see whole turns (`turns`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

# the further fields of a turn that templates know (OpenAI's, and those of servers that return reasoning)
FIELDS = ("name", "reasoning_content", "tool_call_id", "tool_calls")
TOOLS = "tools"


def split(messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return (turns of role and content, further fields by position) of whole turns; null fields are left out."""
    if all(len(turn) == 2 for turn in messages):
        return list(messages), {}  # type: ignore[arg-type]
    plain = [{"role": turn["role"], "content": turn["content"]} for turn in messages]
    further = ({field: turn[field] for field in FIELDS if turn.get(field) is not None} for turn in messages)
    return plain, {str(position): fields for position, fields in enumerate(further) if fields}


def extras(columns: Mapping[str, Mapping[str, Any]], tools: Sequence[Any] | None = None) -> str | None:
    """Return the value of the column `extras`, from the further fields by column; None where there are none."""
    value: dict[str, Any] = {name: fields for name, fields in columns.items() if fields}
    if tools:
        value[TOOLS] = list(tools)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() if value else None


def turns(row: Mapping[str, Any], column: str = "messages") -> list[dict[str, Any]]:
    """Return the whole turns of a column of a row; a row without `extras` has roles and contents only."""
    messages = [dict(turn) for turn in row.get(column) or ()]
    if row.get("extras"):
        for position, fields in orjson.loads(row["extras"]).get(column, {}).items():
            messages[int(position)] |= fields
    return messages


def tools(row: Mapping[str, Any]) -> list[Any] | None:
    """Return the tools that the assistant of a row may call, as the template takes them, or None."""
    return orjson.loads(row["extras"]).get(TOOLS) if row.get("extras") else None
