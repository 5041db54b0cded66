"""Marks in the texts of a conversation, which tell where its template puts them.

A mark is a run of Unicode noncharacters, which text has not. A conversation is rendered with marks and without; if the
two renderings are the same but for the marks, the marks' places hold for the rendering without. This needs nothing of
a template but that it does not look at the ends of texts, where the marks stand: templates that trim texts, fold the
system turn into the user's, drop earlier reasoning or write turns in another order are all understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NONCHARACTER = re.compile("[\ufdd0-\ufdef]")
THOUGHT_END = "</think>"  # templates cut an answer here into reasoning and answer

_MARK = re.compile("\ufdd0([\ufdd1-\ufdda]+)\ufddb")
_ZERO = 0xFDD1

CONTENT, REASONING, CALL = "content", "reasoning", "call"


class Mark(NamedTuple):
    """What a mark stands for: a field of a message."""

    message: int
    field: str


class Marked(NamedTuple):
    """A conversation with marks, numbered by their order."""

    messages: list[dict[str, Any]]
    marks: list[Mark]


def mark(messages: Sequence[Mapping[str, Any]]) -> Marked:
    """Return the messages with a mark after every content, reasoning and name of a called function.

    A mark stands before white space at a text's end, which templates may trim. Reasoning inside of a content gets a
    mark of its own before `</think>`. Texts that are empty get none.
    """
    out, marks = [], []

    def after(text: str, message: int, field: str) -> str:
        if not (end := len(text.rstrip())):
            return text
        marks.append(Mark(message, field))
        return text[:end] + _sign(len(marks) - 1) + text[end:]

    for k, message in enumerate(messages):
        copy = dict(message)
        if copy.get("reasoning_content"):
            copy["reasoning_content"] = after(copy["reasoning_content"], k, REASONING)
        if content := copy.get("content"):
            thought, tag, answer = content.rpartition(THOUGHT_END) if copy["role"] == "assistant" else ("", "", content)
            thought = after(thought, k, REASONING) if thought.rpartition("<think>")[2].strip() else thought
            copy["content"] = thought + tag + after(answer, k, CONTENT)
        if calls := copy.get("tool_calls"):
            copy["tool_calls"] = [_with_name(call, after(call["function"]["name"], k, CALL)) for call in calls]
        out.append(copy)
    return Marked(out, marks)


def read(text: str) -> tuple[str, dict[int, int]]:
    """Return a rendered text without its marks, and the place in it of every mark (the first, if it is repeated)."""
    parts, places, begin, position = [], {}, 0, 0
    for found in _MARK.finditer(text):
        parts.append(text[begin : found.start()])
        position += found.start() - begin
        begin = found.end()
        places.setdefault(int("".join(str(ord(digit) - _ZERO) for digit in found[1])), position)
    parts.append(text[begin:])
    return "".join(parts), dict(sorted(places.items()))


def _sign(number: int) -> str:
    return "\ufdd0" + "".join(chr(_ZERO + int(digit)) for digit in str(number)) + "\ufddb"


def _with_name(call: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "name": name}}
