"""Answers that can be checked: the final answer of a reply, and its comparison with the known answer."""

from __future__ import annotations

import re
import unicodedata

_MARKED = re.compile(r"(?:^|\n)[^\w\n]*(?:final\s+)?answer\W*[:=]\s*(.+)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
_ARTICLE = re.compile(r"\b(?:the|a|an)\b")


def final_answer(reply: str) -> str | None:
    """Return the text after the last `Answer:`, else the only number of the reply, else None."""
    if marked := _MARKED.findall(reply):
        return marked[-1].strip().strip("*").strip()
    numbers = _NUMBER.findall(reply)
    return numbers[0] if len(numbers) == 1 else None


def agrees(answer: str | None, gold: str) -> bool:
    """Return whether the numbers are equal, or the words apart from case, articles and punctuation."""
    if answer is None or not answer.strip():
        return False
    if _NUMBER.fullmatch(gold.strip()):
        numbers = _NUMBER.findall(answer)
        return len(numbers) == 1 and _value(numbers[0]) == _value(gold)
    return _words(answer) == _words(gold)


def _value(number: str) -> float:
    return float(number.strip().replace(",", ""))


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.findall(r"\w+", _ARTICLE.sub(" ", folded))
