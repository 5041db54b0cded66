"""Ratings and scores of a judge's reply: read by schema, each with a status."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from windtunnel.generators.client.completion import Completion, clean

Status = Literal["ok", "not_applicable", "out_of_range", "unreadable"]
NOT_APPLICABLE = "N/A"
_NOT_APPLICABLE = re.compile(r"n\s*/\s*a|not applicable|none", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])(-?\d+(?:\.\d+)?)(?:\s*/\s*(\d+(?:\.\d+)?)|\s+out of\s+(\d+(?:\.\d+)?))?(?![\w%])")
_SCORE_FIELD = re.compile(r"score\W{1,4}(?:is\s+)?(n/a|-?\d+(?:\.\d+)?(?:\s*/\s*\d+)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Rating:
    """A number on its scale, or the reason why there is none, with the rationale."""

    value: float | None
    status: Status = "ok"
    rationale: str = ""


def score(value: Any, low: float, high: float, rationale: str = "") -> Rating:
    """Return the rating of a reply's value: 1 is 1, 7.5 is 7.5, "8/10" is 8, "N/A" is not applicable.

    A number outside the scale is `out_of_range`; it is not clipped. A fraction with another denominator ("4/5" on a
    scale to 10) is rescaled.
    """
    if isinstance(value, bool) or value is None:
        return Rating(None, "unreadable", rationale)
    if isinstance(value, int | float):
        inside = low <= value <= high  # false for NaN
        return Rating(float(value), "ok", rationale) if inside else Rating(None, "out_of_range", rationale)
    text = str(value).strip()
    if _NOT_APPLICABLE.fullmatch(text.rstrip(".")):
        return Rating(None, "not_applicable", rationale)
    numbers = _NUMBER.findall(text)
    if len(numbers) != 1:
        return Rating(None, "unreadable", rationale)
    number, *wholes = numbers[0]
    whole = float(next((w for w in wholes if w), high))
    return score(float(number) * high / whole if whole else None, low, high, rationale)


def object_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an object with exactly these fields."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def schema_of_ratings(count: int, levels: int, not_applicable: bool, rationale_characters: int) -> dict[str, Any]:
    """Return the JSON schema of exactly `count` ratings from 1 to `levels`, with the rationale before the number."""
    choices: list[Any] = [*range(1, levels + 1), *([NOT_APPLICABLE] if not_applicable else [])]
    fields: dict[str, Any] = {"rating": {"enum": choices}}
    if rationale_characters:
        fields = {"rationale": {"type": "string", "maxLength": rationale_characters}} | fields
    items = {"type": "array", "items": object_schema(fields), "minItems": count, "maxItems": count}
    return object_schema({"ratings": items})


def read_ratings(completion: Completion, count: int, levels: int) -> list[Rating]:
    """Return `count` ratings in the order of the reply; all are unreadable when their number does not match."""
    items = json_object(completion.text).get("ratings")
    if not isinstance(items, list) or len(items) != count or not all(isinstance(item, dict) for item in items):
        return [Rating(None, "unreadable")] * count
    return [score(item.get("rating"), 1, levels, str(item.get("rationale", ""))) for item in items]


def schema_of_critique(top: int, characters: int) -> dict[str, Any]:
    """Return the JSON schema of a critique: feedback, then an integer from 1 to `top`."""
    fields = {
        "feedback": {"type": "string", "maxLength": characters},
        "score": {"type": "integer", "minimum": 1, "maximum": top},
    }
    return object_schema(fields)


def read_critique(completion: Completion, top: int) -> Rating:
    """Return the score of a critique and its feedback; a reply that is not JSON is searched for a score."""
    critique = json_object(completion.text)
    if "score" in critique:
        return score(critique["score"], 1, top, str(critique.get("feedback", "")))
    stated = {match.lower() for match in _SCORE_FIELD.findall(completion.text)}
    if len(stated) != 1:
        return Rating(None, "unreadable", completion.text)
    return score(stated.pop(), 1, top, completion.text)


def mean(ratings: Sequence[Rating]) -> float | None:
    """Return the mean of the numbers; None when there is none or most ratings are not applicable."""
    values = [r.value for r in ratings if r.value is not None]
    absent = sum(r.status == "not_applicable" for r in ratings)
    return sum(values) / len(values) if values and len(values) >= absent else None


def common_mean(one: Mapping[str, float | None], other: Mapping[str, float | None]) -> tuple[float, float] | None:
    """Return the means of both over the aspects that both have, None when there are none."""
    shared = [(a, b) for name in one if (a := one[name]) is not None and (b := other.get(name)) is not None]
    if not shared:
        return None
    return sum(a for a, _ in shared) / len(shared), sum(b for _, b in shared) / len(shared)


def balanced_orders(first: Sequence[int], count: int) -> list[list[int]]:
    """Return `count` (even) orders of presentation in which the mean position of every text is the middle.

    Each order is followed by its reverse; further pairs start from a rotation, which changes the neighbours.
    """
    orders: list[list[int]] = []
    for turn in range(count // 2):
        rotated = [*first[turn % len(first) :], *first[: turn % len(first)]]
        orders += [rotated, rotated[::-1]]
    return orders


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object of a reply, also from a code fence or between other text; {} without one."""
    start, end = text.find("{"), text.rfind("}")
    for candidate in (text, text[start : end + 1]) if 0 <= start < end else (text,):
        try:
            value = json.loads(candidate)
            if isinstance(value, dict):
                return _storable(value)
        except (ValueError, RecursionError):
            continue
    return {}


def _storable(value: Any) -> Any:
    """Return a JSON value without lone surrogates, such as half of an escaped emoji."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_storable(one) for one in value]
    if isinstance(value, dict):
        return {clean(name): _storable(one) for name, one in value.items()}
    return value
