"""Turns out of what files write: roles under any of their names, contents as text, tool calls, histories."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson

from windtunnel.schemas.turns import FIELDS

Turn = dict[str, Any]

# names of the roles: OpenAI's, ShareGPT's exports, LLaMA-Factory's, Gemini's
ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "customer": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant",
    "bing": "assistant", "bard": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "ipython": "tool",
}  # fmt: skip
CALL = "function_call"  # a role whose text is a call
_PLAIN = ROLES.keys() - {CALL}
REASONING = ("reasoning", "thinking")  # further names of `reasoning_content`, where they hold text
LEARNT = ("weight", "train", "training")  # of a turn: 0 or false where it is not to be learnt (OpenAI, Axolotl)
_TEXTS = ("text", "input_text", "output_text")  # kinds of parts of a content that are text


# names of columns, the usual ones first
SYSTEMS = ("system", "system_prompt", "system_message")
INPUTS = ("input", "context")  # of an instruction
PROMPTS = ("prompt", "question", "query", "problem", "instruction")
LABEL = "label"  # of an answer: whether it is desirable
_VERDICTS = {"true": True, "1": True, "false": False, "0": False}


def named(columns: Collection[str], given: str | None, names: Sequence[str]) -> str:
    """Return the column that a parameter gives, else the first of the usual names that is there, else the usual one."""
    return given or next((name for name in names if name in columns), names[0])


class Refused(Exception):
    """A record that is no row; `reason` is its reason code."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


def turns(value: Any, name: str) -> list[Turn]:
    """Return the turns of a list of messages, which may be written as JSON; raises Refused."""
    value = parsed(value, name)
    if not value and not isinstance(value, (int, float)):
        raise Refused("no_messages", f"field {name!r}")
    if not isinstance(value, list):
        raise Refused("messages_not_a_list", f"field {name!r} holds {type(value).__name__}")
    return [_turn(turn, f"{name}[{number}]") for number, turn in enumerate(value)]


def parsed(value: Any, name: str) -> Any:
    """Return a value; text that begins as a JSON list or object is parsed, as CSV files hold it. Raises Refused."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise Refused("messages_not_json", f"field {name!r}: {error}"[:200]) from None
    return value


def text(value: Any, name: str) -> str:
    """Return a value that must be text; raises Refused."""
    if isinstance(value, str):
        return value
    if value is None:
        raise Refused("no_text", f"field {name!r}")
    reason = "invalid_utf8" if isinstance(value, bytes) else "text_not_string"
    raise Refused(reason, f"field {name!r} holds {type(value).__name__}")


def prompt_turns(value: Any, name: str) -> list[Turn]:
    """Return a prompt that is a list of messages, or a text, which is one of the user's."""
    if isinstance(value, list):
        return turns(value, name)
    return [{"role": "user", "content": text(value, name)}]


def asked_with(asked: str, record: Mapping[str, Any], column: str) -> str:
    """Return an instruction, and after a blank line the input of its record; raises Refused."""
    given = record.get(column)
    if given is not None and not isinstance(given, str):
        raise Refused("text_not_string", f"field {column!r} holds {type(given).__name__}")
    if not given or not given.strip():
        return asked
    return f"{asked}\n\n{given}" if asked.strip() else given


def answer_turns(value: Any, name: str) -> list[Turn]:
    """Return an answer that is a list of messages, one message, or a text."""
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, list):
        return turns(value, name)
    return [{"role": "assistant", "content": text(value, name)}]


def with_system(messages: list[Turn], record: Mapping[str, Any], column: str | None) -> list[Turn]:
    """Return messages behind the system turn of a record, where it has one and they have none."""
    system = record.get(named(record, column, SYSTEMS))
    if isinstance(system, str) and system.strip() and not (messages and messages[0]["role"] == "system"):
        return [{"role": "system", "content": system}, *messages]
    return messages


def history_turns(value: Any, name: str) -> list[Turn]:
    """Return earlier rounds, written as pairs of question and answer; none where there is no history."""
    rounds = parsed(value, name)
    if not rounds:
        return []
    if not isinstance(rounds, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in rounds):
        raise Refused("history_not_pairs", f"field {name!r}")
    return [
        {"role": role, "content": text(said, name)}
        for pair in rounds
        for role, said in zip(("user", "assistant"), pair, strict=True)
    ]


def tools_of(value: Any) -> list[Any] | None:
    """Return a row's tools, which may be written as JSON; None where it has none. Raises Refused."""
    value = parsed(value, "tools")
    if value is None or value == "" or value == []:
        return None
    if not isinstance(value, list):
        raise Refused("tools_not_a_list", f"field 'tools' holds {type(value).__name__}")
    return [parsed(tool, "tools") for tool in value]


def verdict(value: Any) -> bool | None:
    """Return whether a label calls an answer desirable; None for a value that says neither."""
    if isinstance(value, str):
        return _VERDICTS.get(value.strip().lower())
    return bool(value) if value in (0, 1) else None  # NaN equals neither


def label_of(record: Mapping[str, Any], column: str | None) -> bool | None:
    """Return the label of a record's answer; None where it has none, or a text that is no verdict, such as a topic.

    Raises Refused for other values.
    """
    if column is None or column not in record:
        return None
    held = dict(record)[column]  # a topic counts as a column that is not read
    found = verdict(held)
    if found is not None:
        return verdict(record.get(column))
    if held is None or isinstance(held, str) or held != held:  # NaN is no label
        return None
    raise Refused(
        "label_not_boolean",
        f"field {column!r}: {str(held)[:40]!r}; where it is no verdict, give the layout `label: null`",
    )


def _turn(value: Any, name: str) -> Turn:
    if not isinstance(value, Mapping):
        raise Refused("message_not_an_object", f"{name} is {type(value).__name__}")
    said = value.get("role") or value.get("from")
    if len(value) == 2 and type(text := value.get("content", value.get("value"))) is str and said in _PLAIN:
        return {"role": ROLES[said], "content": text}  # as nearly all are
    role = ROLES.get(said.strip().lower()) if isinstance(said, str) else None
    if role is None:
        raise Refused("unknown_role", f"{name}: {str(said)[:60]!r}")
    content = value["content"] if "content" in value else value.get("value", value.get("text"))
    if role == "assistant" and (unlearnt := [field for field in LEARNT if value.get(field) in (0, "0", "false")]):
        raise Refused("turn_not_to_learn", f"{name}: {unlearnt[0]!r} is 0, and every answer of a row is learnt here")
    further = _further(value, name)
    if said == CALL:
        return {"role": role, "content": "", "tool_calls": [_call(content, name)], **further}
    if content is None and "tool_calls" in further:
        content = ""  # OpenAI's form of a turn that only calls
    return {"role": role, "content": _content(content, name), **further}


def _further(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the fields of a turn that templates know, beside role and content; raises Refused for other types."""
    further = {field: value[field] for field in FIELDS if value.get(field) not in (None, "", [])}
    if thought := next((value[field] for field in REASONING if isinstance(value.get(field), str)), ""):
        further.setdefault("reasoning_content", thought)
    if "tool_calls" in further:
        calls = parsed(further["tool_calls"], name)
        if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls):
            raise Refused("tool_calls_not_a_list", f"{name}: calls are a list of objects")
        further["tool_calls"] = calls
    for field in sorted(further.keys() - {"tool_calls"}):
        if isinstance(further[field], int) and not isinstance(further[field], bool):
            further[field] = str(further[field])  # an id of a call
        elif not isinstance(further[field], str):
            raise Refused("field_not_text", f"{name}: {field!r} holds {type(further[field]).__name__}")
    return further


def _content(content: Any, name: str) -> str:
    """Return the text of a content, which may be a list of parts that are all text."""
    if isinstance(content, str):
        return content
    if content is None:
        raise Refused("no_content", name)
    if not isinstance(content, list):
        raise Refused("content_not_text", f"{name} holds {type(content).__name__}")
    return "".join(_part(part, name) for part in content)


def _part(part: Any, name: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and isinstance(part.get("text"), str) and part.get("type", "text") in _TEXTS:
        return part["text"]
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise Refused("content_not_text", f"{name} has a part of the kind {str(kind)[:40]!r}: models here read text")


def _call(content: Any, name: str) -> dict[str, Any]:
    call = parsed(content, name)
    if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
        raise Refused("no_tool_call", f"{name}: a call is an object with a name and arguments")
    return {"type": "function", "function": {"name": call["name"], "arguments": call.get("arguments", {})}}


def joined(parts: Iterable[Sequence[Turn]]) -> list[Turn]:
    """Return the turns of several lists in order."""
    return [turn for part in parts for turn in part]
