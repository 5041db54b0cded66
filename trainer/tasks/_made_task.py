"""The base class of tasks whose questions are made up from a seed alone, the same for every model and recipe."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar

from blake3 import blake3
from pydantic import Field

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label
from windtunnel.trainer.tasks._evaluation import Asker, Evaluation, Measured, Text
from windtunnel.trainer.tasks._pieces import Made, measured

SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]


class MadeTask(Evaluation):
    """Made-up questions; `items` of each part. An item is a function of the seed, its part and its number."""

    about: ClassVar[str] = "made-up items"

    items: int = Field(100, ge=1)
    seed: int = 0

    @abstractmethod
    def parts(self) -> list[str]:
        """Return the names of the parts, each with `items` questions."""

    @abstractmethod
    def item(self, part: str, number: int, rng: random.Random) -> Made:
        """Return a question of a part. `rng` depends on the seed, the task and the number, and not on the part."""

    def make(self) -> list[Made]:
        """Return all questions."""
        return [self.item(part, k, random.Random(self._key(k))) for part in self.parts() for k in range(self.items)]

    def measure(self, documents: Callable[[], Iterable[Text]], asker: Asker) -> Measured:
        """Ask all questions; see Evaluation."""
        found = measured(self.make(), asker)
        if not found.rows:
            raise InputError(f"the model accepts none of the {sum(found.dropped.values())} questions of {self.title!r}")
        return found

    @staticmethod
    def words(rng: random.Random, count: int) -> list[str]:
        """Return different made-up words of two syllables."""
        found: dict[str, None] = {}
        while len(found) < count:
            found.setdefault(rng.choice(SYLLABLES) + rng.choice(SYLLABLES))
        return list(found)

    def _key(self, number: int) -> int:
        return int.from_bytes(blake3(f"{self.seed}\0{label(self)}\0{number}".encode()).digest(8), "big")
