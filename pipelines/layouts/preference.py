"""A chosen and a rejected answer: texts or lists of messages, with the prompt apart or in both."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any, ClassVar

from windtunnel.pipelines.layouts._layout import Example, Layout, Pair, Record, Refused
from windtunnel.pipelines.layouts._turns import (
    PROMPTS,
    Turn,
    answer_turns,
    named,
    parsed,
    prompt_turns,
    tools_of,
    with_system,
)

RATINGS = ("rating_{}", "score_{}", "{}_rating", "{}_score")
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")  # transcripts, as in HH-RLHF


class Preference(Layout):
    """Columns `chosen` and `rejected`, with `prompt` (question, ...) or without: then it is what both begin with.

    Texts without a prompt are transcripts of `Human:` and `Assistant:`. Ratings are read from `score_chosen`,
    `chosen_rating` and the like.
    """

    gives: ClassVar = "preferences"
    rank: ClassVar[int] = 10
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
            (("user", "Why?"), ("assistant", "So."), ("assistant", "No.")),
        ),
        Example(
            {
                "chosen": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}],
                "rejected": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "No."}],
            },
            (("user", "Why?"), ("assistant", "So."), ("assistant", "No.")),
        ),
        Example(
            {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
            (("user", "Why?"), ("assistant", "So."), ("assistant", "No.")),
        ),
        Example(
            {"system": "Be.", "question": "Why?", "chosen": "So.", "rejected": "No."},
            (("system", "Be."), ("user", "Why?"), ("assistant", "So."), ("assistant", "No.")),
        ),
        Example({"prompt": "Why?", "chosen": "So.", "rejected": "So. "}, refused="chosen_equals_rejected"),
        Example({"chosen": "So.", "rejected": "No."}, refused="no_prompt"),
    )
    prompt: str | None = None
    chosen: str = "chosen"
    rejected: str = "rejected"
    system: str | None = None

    def fits(self, columns: Collection[str]) -> bool:
        return self.chosen in columns and self.rejected in columns

    def row(self, record: Record) -> Pair:
        column = named(record, self.prompt, PROMPTS)
        prompt = record.get(column)
        prompt = parsed(prompt, column) if _is_list(prompt) else prompt
        sides = [self._answer(record.get(name), name, prompt is None) for name in (self.chosen, self.rejected)]
        asked = [] if prompt is None else prompt_turns(prompt, column)
        if any(side and side[0]["role"] != "assistant" for side in sides):  # the prompt is in the answers, too
            asked, *sides = _parted(*sides)
        if not asked:
            raise Refused("no_prompt", f"no field {column!r}, and the answers begin with no common turn")
        if _unspaced(sides[0]) == _unspaced(sides[1]):  # which templates strip
            raise Refused("chosen_equals_rejected", "both answers are the same")
        asked = with_system(asked, record, self.system)
        ratings = _rating(record, self.chosen), _rating(record, self.rejected)
        return Pair(asked, sides[0], sides[1], ratings, tools_of(record.get("tools")))

    def _answer(self, value: Any, name: str, whole: bool) -> list[Turn]:
        value = parsed(value, name) if _is_list(value) else value
        if whole and isinstance(value, str):
            return _transcript(value, name)
        return answer_turns(value, name)


def _unspaced(messages: list[Turn]) -> list[Turn]:
    return [{**turn, "content": turn["content"].strip()} for turn in messages]


def _is_list(value: Any) -> bool:
    """Return whether a text is a list of messages written as JSON."""
    return isinstance(value, str) and value.lstrip()[:2] == "[{"


def _parted(chosen: list[Turn], rejected: list[Turn]) -> tuple[list[Turn], list[Turn], list[Turn]]:
    """Return (what both begin with, the rest of each); the rests begin with the assistant's turns."""
    if chosen == rejected:
        raise Refused("chosen_equals_rejected", "both conversations are the same")
    length = 0
    while length < min(len(chosen), len(rejected)) and chosen[length] == rejected[length]:
        length += 1
    rests = chosen[length:], rejected[length:]
    if not length or any(not rest or rest[0]["role"] != "assistant" for rest in rests):
        raise Refused("prompts_differ", "the conversations part at a turn that is not the assistant's")
    return chosen[:length], *rests


def _transcript(said: str, name: str) -> list[Turn]:
    places = list(_SPEAKER.finditer(said))
    if not places:
        raise Refused("no_prompt", f"field {name!r} is text without a prompt")
    ends = [place.start() for place in places[1:]] + [len(said)]
    return [
        {"role": "user" if place[1] == "Human" else "assistant", "content": said[place.end() : end].strip()}
        for place, end in zip(places, ends, strict=True)
    ]


def _rating(record: Record, side: str) -> float | None:
    values = (_number(record.get(form.format(side))) for form in RATINGS)
    return next((value for value in values if value is not None), None)


def _number(value: Any) -> float | None:
    """Return a finite number, which CSV files hold as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
