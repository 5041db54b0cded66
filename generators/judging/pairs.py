"""Labelled pairs from a JSONL file: good lines become pairs, bad ones are counted and named."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson

from windtunnel.generators.judges._judge import Pair, Winner
from windtunnel.schemas.errors import InputError

LABELS = ("a", "b", "tie")


@dataclass(frozen=True)
class BadLine:
    """A line that is no labelled pair: its number from 1, a reason code and what exactly is wrong."""

    line: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Pairs:
    """What a file holds: lines = good + bad; blank lines are none."""

    good: list[Pair]
    bad: list[BadLine]

    @property
    def reasons(self) -> Counter[str]:
        """Bad lines by reason."""
        return Counter(bad.reason for bad in self.bad)


class _Bad(Exception):
    def __init__(self, reason: str, detail: str):
        self.reason, self.detail = reason, detail


def read_pairs(path: Path) -> Pairs:
    """Return the pairs of a JSONL file (`.gz` too) with fields `prompt response_a response_b labels [id] [judge]`.

    Raises InputError when the file cannot be read at all, or holds no good line.
    """
    good: dict[str, Pair] = {}
    bad: list[BadLine] = []
    for number, line in _lines(path):
        try:
            pair = _pair(line)
            if pair.id in good:
                raise _Bad("duplicate_id", f"{pair.id!r} came before: one vote for one pair")
            good[pair.id] = pair
        except _Bad as error:
            bad.append(BadLine(number, error.reason, error.detail))
    if not good:
        first = f": line {bad[0].line}: {bad[0].detail}" if bad else ""
        raise InputError(f"{path} holds no labelled pair ({len(bad)} bad lines{first})")
    return Pairs(list(good.values()), bad)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if line.strip():
                    yield number, line
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _pair(line: bytes) -> Pair:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _Bad("invalid_json", str(error)) from error
    if not isinstance(row, dict):
        raise _Bad("not_an_object", f"a pair is a JSON object, this is {type(row).__name__}")
    return Pair(
        prompt=_prompt(row),
        response_a=_text(row, "response_a"),
        response_b=_text(row, "response_b"),
        labels=_labels(row),
        name=_name(row),
        recorded=_recorded(row),
    )


def _field(row: dict[str, Any], field: str) -> Any:
    if field not in row:
        raise _Bad("missing_field", f"no {field!r}")
    return row[field]


def _text(row: dict[str, Any], field: str) -> str:
    value = _field(row, field)
    if not isinstance(value, str):
        raise _Bad("wrong_type", f"{field!r} is {type(value).__name__}, not text")
    return value


def _prompt(row: dict[str, Any]) -> str:
    """Return the prompt: a text, or a conversation so far as messages, written out turn by turn."""
    value = _field(row, "prompt")
    if not isinstance(value, list):
        return _text(row, "prompt")
    turns = []
    for message in value:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise _Bad("wrong_type", "'prompt' is a list of something else than messages")
        turns.append(f"{message.get('role', 'user')}: {message['content']}")
    return "\n\n".join(turns)


def _labels(row: dict[str, Any]) -> tuple[Winner, ...]:
    value = _field(row, "labels")
    if not isinstance(value, list) or not value:
        raise _Bad("no_labels", "'labels' is a list with at least one of a, b, tie")
    for label in value:
        if label not in LABELS:
            raise _Bad("unknown_label", f"{label!r} is none of a, b, tie")
    return tuple(cast(list[Winner], value))


def _name(row: dict[str, Any]) -> str:
    value = row.get("id")
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise _Bad("wrong_type", "'id' is neither a text nor a number")
    return str(value)


def _recorded(row: dict[str, Any]) -> tuple[float, float] | None:
    value = row.get("judge")
    if value is None:
        return None
    both = [value.get(order) for order in ("ab", "ba")] if isinstance(value, dict) else []
    numbers = [float(p) for p in both if isinstance(p, int | float) and not isinstance(p, bool)]
    if len(numbers) != 2 or not all(math.isfinite(p) and 0 <= p <= 1 for p in numbers):
        raise _Bad("bad_recorded", '\'judge\' is {"ab": p, "ba": p} with probabilities from 0 to 1')
    return numbers[0], numbers[1]
