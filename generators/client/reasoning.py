"""Reasoning in the text of a reply, apart from the answer, where a server does not report it in a field of its own."""

from __future__ import annotations

import re

_NAMES = "think|thinking|thought|reasoning"
_OPENING = re.compile(rf"\s*(?:<({_NAMES})>|\[(THINK)\])", re.IGNORECASE)
# some templates put the opening tag into the prompt; a tag inside of a sentence is text about tags
_CLOSING_LINE = re.compile(rf"(?:^|\n)[ \t]*(?:</(?:{_NAMES})>|\[/THINK\])[ \t]*(?:\n|$)", re.IGNORECASE)


def split_reasoning(text: str) -> tuple[str, str]:
    """Return (reasoning, answer) of a reply that begins with a block of reasoning; ("", text) without one.

    A block that is not closed takes the whole text, so there is no answer.
    """
    opening = _OPENING.match(text)
    if opening is None:
        closing = _CLOSING_LINE.search(text)
        return (text[: closing.start()].strip(), text[closing.end() :].lstrip()) if closing else ("", text)
    closed = f"</{opening[1]}>" if opening[1] else "[/THINK]"
    end = text.lower().find(closed.lower(), opening.end())
    if end < 0:
        return text[opening.end() :].strip(), ""
    return text[opening.end() : end].strip(), text[end + len(closed) :].lstrip()
