"""Makes preference pairs of a right and a wrong answer to instructions with one checkable answer.

Wrong answers are near the right ones, as a model's are: two parts of a list in the wrong order, a number beside the
right one, another word of the question, a letter left out or twice there. Each is confirmed to be wrong.
"""

from __future__ import annotations

import random
import re
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from windtunnel.generators.core.generator import Example
from windtunnel.generators.core.rows import message, preference_row
from windtunnel.generators.families._family import FamilyTask, Item, parts_of
from windtunnel.generators.kinds.flan import Flan
from windtunnel.schemas.records import PREFERENCE

JUDGE = "code"


class FlanPairs(Flan):
    """Makes pairs as `flan` makes conversations; of the share `flipped`, the wrong answer is the chosen one.

    Which rows are flipped depends on the seed and the row: those of a smaller share are among those of a larger one.
    The lineage says of each row whether it is flipped.
    """

    output: ClassVar[pa.Schema] = PREFERENCE
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"families": ["extraction"], "tasks": ["year"], "templates": [1], "rows": 5},
            inputs={
                "documents": [
                    {
                        "id": "a",
                        "source": "s",
                        "text": "The mill stands by the river. It was built in 1843 by two men.",
                    }
                ]
            },
            replies={},
            kept=[
                [
                    "The mill stands by the river. It was built in 1843 by two men.\n\n"
                    "What year does the passage mention?",
                    "1843",
                    "1842",
                ]
            ],
            dropped={},
        ),
    )

    flipped: float = Field(0.0, ge=0, lt=1)

    def written(
        self, question: str, item: Item, task: FamilyTask, family: str, rng: random.Random
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return the pair of a question whose answer is confirmed, None where no wrong answer is near."""
        wrong = next(
            (text for text in _near(item, rng) if _differs(text, item.answer) and not _right(task, item, text)), None
        )
        if wrong is None:
            return None
        turned = rng.random() < self.flipped
        answers = (wrong, item.answer) if turned else (item.answer, wrong)
        row = preference_row([message("user", question)], *answers, (None, None), JUDGE, family)
        return row, {"flipped": turned}


def _differs(text: str, answer: str) -> bool:
    """Return whether a text is an answer, and another one for those who compare without case and punctuation."""
    return bool(text.strip()) and text.casefold().strip(" .") != answer.casefold().strip(" .")


def _right(task: FamilyTask, item: Item, text: str) -> bool:
    try:
        return task.verify(item.fields, text)
    except (ValueError, IndexError, KeyError):  # the check of a form, which other texts do not have
        return False


def _near(item: Item, rng: random.Random) -> list[str]:
    """Return answers that are near the right one, of different kinds in a random order."""
    answer, found = item.answer, []
    if len(parts := parts_of(answer)) > 1:
        place = rng.randrange(len(parts) - 1)
        parts[place : place + 2] = reversed(parts[place : place + 2])
        found.append(", ".join(parts))
    elif len(words := answer.split()) > 1:
        place = rng.randrange(len(words) - 1)
        words[place : place + 2] = reversed(words[place : place + 2])
        found.append(" ".join(words))
    if numbers := list(re.finditer(r"\d+", answer)):
        number = rng.choice(numbers)
        other = max(0, int(number.group()) + rng.choice((-2, -1, 1, 2)))
        found.append(f"{answer[: number.start()]}{other}{answer[number.end() :]}")
    if answer.isalpha():
        shown = sorted({word for text in item.fields.values() for word in re.findall(r"[A-Za-z]{3,}", text)} - {answer})
        found += [rng.choice(shown)] if shown else []
    if letters := [place for place, c in enumerate(answer) if c.isalpha()]:
        place = rng.choice(letters)
        times = rng.choice((0, 2))
        found.append(answer[:place] + answer[place] * times + answer[place + 1 :])
    return rng.sample(found, len(found))
