"""Answers of several parts: lists, tuples, intervals, sets, alternatives and solutions of equations."""

from __future__ import annotations

import re
from dataclasses import dataclass

from windtunnel.generators.text.formulas import assignment
from windtunnel.generators.text.quantities import quantity

_OPEN, _CLOSE = "([{⟨", ")]}⟩"
_JOINT = re.compile(r"\s*,\s*(?:and\s+)?|\s*;\s*|\s+and\s+|(?P<alternative>\s*(?:,\s*)?\bor\s+)", re.IGNORECASE)


@dataclass(frozen=True)
class Collection:
    """The parts of an answer. `kind` is the pair of brackets, `list`, `or` or `solutions`; `names` are of solutions."""

    kind: str
    elements: tuple[str, ...]
    ordered: bool = True
    names: frozenset[str] = frozenset()


def collection(text: str) -> Collection | None:
    """Return the parts of a plain answer, or None if it is one part."""
    if match := re.fullmatch(r"([A-Za-z]\w{0,2})\s*∈\s*(\{.*\})", text):
        inner = collection(match[2])
        names = frozenset([match[1]])
        return Collection("solutions", _signed(inner.elements), False, names) if inner else None
    if text[:1] in _OPEN and text[:1] and _closing(text) == len(text) - 1:
        parts, _ = _parts(text[1:-1])
        if text[0] == "{":
            return Collection("{}", tuple(part for part in parts if part), ordered=False)
        return Collection(text[0] + text[-1], tuple(parts)) if len(parts) > 1 else None
    if quantity(text) is not None:
        return None
    parts, alternative = _parts(text)
    if len(parts) < 2 and "±" not in text:
        return None
    return _solutions(parts) or _bare(parts, alternative)


def _bare(parts: list[str], alternative: bool) -> Collection | None:
    if len(parts) < 2:
        return None
    return Collection("or", tuple(parts), ordered=False) if alternative else Collection("list", tuple(parts))


def _solutions(parts: list[str]) -> Collection | None:
    """Return the values of one variable, or one value of several; None for other lists."""
    pairs = [assignment(part) for part in parts]
    if not pairs[0][0]:
        return None
    names = {name for name, _ in pairs if name}
    values = tuple(value for _, value in pairs)
    if len(names) == 1:
        return Collection("solutions", _signed(values), False, frozenset(names))
    if len(names) == len(parts):
        ordered = [value for _, value in sorted(pairs)]
        return Collection("assignments", tuple(ordered), True, frozenset(names))
    return None


def _signed(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values with both of those that `±` stands for."""
    out: list[str] = []
    for value in values:
        out += [value[1:].strip(), f"-{value[1:].strip()}"] if value.startswith("±") else [value]
    return tuple(out)


def _closing(text: str) -> int:
    """Return the place of the bracket that closes the first one, or -1; half-open intervals mix two kinds."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign in _OPEN) - (sign in _CLOSE)
        if depth == 0:
            mixed = {text[0], sign} <= set("()[]")
            return place if mixed or _OPEN.index(text[0]) == _CLOSE.index(sign) else -1
    return -1


def _parts(text: str) -> tuple[list[str], bool]:
    """Return the parts between commas, semicolons and conjunctions outside brackets, and whether one is `or`."""
    depth, start, parts, alternative, place = 0, 0, [], False, 0
    while place < len(text):
        depth += (text[place] in _OPEN) - (text[place] in _CLOSE)
        joint = _JOINT.match(text, place) if depth == 0 else None
        if joint and joint.end() > place and not _in_number(text, joint):
            parts.append(text[start:place].strip())
            alternative |= joint["alternative"] is not None
            start = place = joint.end()
        else:
            place += 1
    return [*parts, text[start:].strip()], alternative


def _in_number(text: str, joint: re.Match[str]) -> bool:
    """Return whether a comma separates thousands, in a list that is joined by `and`, `or`, semicolons or `, `."""
    spaced = re.search(r",\s|;|\b(?:and|or)\b", text)
    return joint[0] == "," and spaced is not None and bool(re.match(r"\d{3}(?!\d)", text[joint.end() :]))
