"""Instructions of a model's numbered list, and filters for those that a text model cannot use."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

FEWEST_WORDS, MOST_WORDS = 4, 150
# things that a model of text cannot see, produce or do
UNTEXTUAL = (
    "image", "images", "graph", "graphs", "picture", "pictures", "photo", "photos", "file", "files", "map", "maps",
    "draw", "plot", "video", "audio", "go to",
)  # fmt: skip
_UNTEXTUAL = re.compile(r"\b(?:" + "|".join(UNTEXTUAL) + r")\b", re.IGNORECASE)
_NUMBER = re.compile(r"(?:^|\n)[ \t]*(?:[Tt]ask[ \t]*)?(\d{1,3})[ \t]*[.):](?!\d)")


@dataclass(frozen=True)
class Item:
    """One entry of a list; `complete` is false for the last one of a truncated reply."""

    text: str
    complete: bool = True


def numbered(reply: str, first: int, truncated: bool) -> list[Item]:
    """Return the entries of a list whose first number, `first`, precedes the reply or is repeated within it.

    Only the next number in order opens an entry, so "2016." in a text does not split it. A list that starts again at 1
    is followed; the text before it is not an entry.
    """
    heads: list[tuple[int, int]] = []
    due = 0
    for match in _NUMBER.finditer(reply):
        number = int(match[1])
        if not heads:
            before = reply[: match.start()].strip()
            if number == first + 1:
                heads.append((0, 0))  # the reply begins within entry `first`
            elif number != first and not (number == 1 and (not before or before.endswith(":"))):
                continue
        elif number != due:
            continue
        heads.append(match.span())
        due = number + 1
    heads = heads or [(0, 0)]
    ends = [start for start, _ in heads[1:]] + [len(reply)]
    texts = [" ".join(reply[start:end].split()) for (_, start), end in zip(heads, ends, strict=True)]
    last = len(texts) - 1
    return [Item(sentence_case(t), not (truncated and i == last)) for i, t in enumerate(texts) if t]


def sentence_case(text: str) -> str:
    """Return the text with its first letter in upper case and the others unchanged."""
    return text[:1].upper() + text[1:]


def unsuitable(instruction: str, ascii_start: bool = True) -> str | None:
    """Return why an instruction is refused, or None, by Self-Instruct's filters on form (Wang et al. 2022)."""
    words = len(instruction.split())
    if words < FEWEST_WORDS:
        return "too_short"
    if words > MOST_WORDS:
        return "too_long"
    if _UNTEXTUAL.search(instruction):
        return "not_for_text"
    if instruction.lower().startswith("write a program"):
        return "program"  # models repeat this opening without writing the program
    if instruction[0] in string.punctuation:
        return "starts_with_punctuation"
    if ascii_start and not instruction[0].isascii():
        return "starts_outside_ascii"
    return None
