"""Preference rows as labelled pairs: prompt, chosen and rejected, as texts, as messages, or several answers of each.

A row with several chosen or rejected answers, as RewardBench 2 has them (one chosen and three rejected, or
`num_correct` and `num_incorrect` of them), gives a pair for each of the chosen with each of the rejected; its pairs
share the `row`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blake3 import blake3

from windtunnel.generators.judges._judge import Pair
from windtunnel.schemas.artifact import canonical_json

SIDES = ("chosen", "rejected")
SUBSETS = ("subset", "source")  # columns that name the part of a set, the first that is there


class BadRow(Exception):
    """A row that is no labelled pair: a reason code and the detail."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def preference_pairs(row: Mapping[str, Any], name: str) -> list[Pair]:
    """Return the pairs of a preference row called `name` (empty: named by its content).

    Whether the chosen answer is named a depends on the content, so that no place wins more often. Raises BadRow.
    """
    prompt, chosen, rejected = _parts(row)
    _numbers_fit(row, chosen, rejected)
    content = canonical_json([prompt, chosen, rejected]).encode("utf-8", "surrogatepass")
    row_name = name or blake3(content).hexdigest()[:16]
    several = len(chosen) * len(rejected) > 1
    pairs = []
    for i, good in enumerate(chosen):
        for j, bad in enumerate(rejected):
            if good == bad:
                raise BadRow("equal_answers", "a chosen answer equals a rejected one")
            named = f"{row_name}#{i}.{j}" if several else row_name
            first = blake3(f"{named}:{good}".encode("utf-8", "surrogatepass")).digest()[0] % 2 == 0
            a, b = (good, bad) if first else (bad, good)
            about = {"name": named, "subset": subset_of(row), "row": row_name if several else "", "chosen": i}
            pairs.append(Pair(prompt, a, b, ("a" if first else "b",), **about))
    return pairs


def subset_of(row: Mapping[str, Any]) -> str:
    """Return the part of a set that a row says it belongs to; empty where it says none."""
    return next((str(row[name]) for name in SUBSETS if isinstance(row.get(name), str | int) and row[name] != ""), "")


def written_out(messages: Any, field: str) -> str:
    """Return a conversation turn by turn as one text. Raises BadRow."""
    if not all(isinstance(m, Mapping) and isinstance(m.get("content"), str) for m in messages):
        raise BadRow("wrong_type", f"{field!r} is a list of something else than messages with a text")
    return "\n\n".join(f"{m.get('role', 'user')}: {m['content']}" for m in messages)


def _parts(row: Mapping[str, Any]) -> tuple[str, list[str], list[str]]:
    """Return the prompt, the chosen and the rejected answers."""
    prompt, sides = row.get("prompt"), [_side(row[name], name) for name in SIDES]
    shared = 0
    if all(isinstance(side[0], list) for side in sides):  # conversations, which may repeat or hold the prompt
        (one,), (other,) = sides
        while shared < min(len(one), len(other)) - 1 and one[shared] == other[shared]:
            shared += 1
        if prompt is None:
            if not shared:
                raise BadRow("missing_field", "no 'prompt', and the two conversations begin in different ways")
            prompt = one[:shared]
    if isinstance(prompt, list):
        single = len(prompt) == 1 and isinstance(prompt[0], Mapping) and prompt[0].get("role") == "user"
        prompt = written_out(prompt, "prompt").removeprefix("user: ") if single else written_out(prompt, "prompt")
    if not isinstance(prompt, str):
        raise BadRow("missing_field" if prompt is None else "wrong_type", "'prompt' is neither a text nor messages")
    chosen, rejected = ([_answer(each, shared, name) for each in side] for side, name in zip(sides, SIDES, strict=True))
    return prompt, chosen, rejected


def _side(value: Any, name: str) -> list[Any]:
    """Return the answers of one side: texts, or one conversation as a list of messages."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise BadRow("wrong_type", f"{name!r} is neither a text nor a list with something in it")
    if all(isinstance(each, str) for each in value):
        return list(value)
    if all(isinstance(each, list) and each for each in value):
        raise BadRow("wrong_type", f"{name!r} holds several conversations: give their answers as texts")
    written_out(value, name)
    return [value]


def _answer(value: Any, shared: int, name: str) -> str:
    """Return an answer as a text: of a conversation, what follows the part that both share."""
    if isinstance(value, str):
        return value
    rest = value[shared:]
    return rest[0]["content"] if len(rest) == 1 else written_out(rest, name)


def _numbers_fit(row: Mapping[str, Any], chosen: list[str], rejected: list[str]) -> None:
    for name, answers in (("num_correct", chosen), ("num_incorrect", rejected)):
        number = row.get(name)
        if isinstance(number, int | float) and number == number and int(number) != len(answers):
            raise BadRow("wrong_number", f"{name!r} is {number}, the row has {len(answers)}")
