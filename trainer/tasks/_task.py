"""Questions with one exact answer, made from documents: the base of trainer/tasks.

Items are a function of the documents, the seed and the task's parameters: documents stand in the order of a hash of
(seed, task, id), and each gives at most one item, until there are enough. The documents are named by the recipe and
are best taken from the held-out side, so that no trained model has seen them.
"""

from __future__ import annotations

import heapq
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

from blake3 import blake3
from pydantic import Field

from windtunnel.schemas.plugin import Plugin, label

TEXT_LIMIT = 4000  # characters of a document that a task looks at
SPARES = 20  # documents kept per wanted item: most documents give no item of some tasks


class Text(NamedTuple):
    """A document as a task sees it."""

    id: str
    text: str


class Item(NamedTuple):
    """A question with its answer."""

    id: str  # of the documents it was made from
    prompt: str
    answer: str


class Task(Plugin, ABC):
    """A kind of question: one file in trainer/tasks. Instances are scored by generation and by the answer's nats."""

    items: int = Field(100, ge=1)
    seed: int = 0

    # A text that gives an item, and one that gives none: the discovery test runs every task on both.
    gives: ClassVar[str]
    gives_none: ClassVar[str] = "no"

    @abstractmethod
    def item(self, texts: Sequence[Text], rng: random.Random) -> Item | None:
        """Return an item from the first of `texts` (the others are for distraction), or None where it holds none."""

    def score(self, item: Item, reply: str) -> float:
        """Return 1 for a right reply, 0 for a wrong one: the first line, case and final punctuation aside."""
        return float(tidy(first_line(reply)) == tidy(item.answer))

    def make(self, documents: Iterable[Text]) -> list[Item]:
        """Return the items that documents give, at most `items` of them."""
        texts = self._chosen(documents)
        out: list[Item] = []
        for place in range(len(texts)):
            if len(out) == self.items:
                break
            rotated = [*texts[place : place + SPARES], *texts[: max(0, place + SPARES - len(texts))]]
            found = self.item(rotated, random.Random(self._key(texts[place].id)))
            if found is not None:
                out.append(found)
        return out

    def _chosen(self, documents: Iterable[Text]) -> list[Text]:
        """Return the documents of the smallest keys, in key order; no more of them are ever held."""
        keyed = ((self._key(d.id), d.id, Text(d.id, d.text[:TEXT_LIMIT])) for d in documents)
        return [text for _, _, text in heapq.nsmallest(SPARES * self.items, keyed)]

    def _key(self, document: str) -> int:
        return int.from_bytes(blake3(f"{self.seed}\0{label(self)}\0{document}".encode()).digest(8), "big")


def sentences(text: str, shortest: int, longest: int) -> list[str]:
    """Return sentences of the text by their number of words, cut at full stops before a capital; no line breaks."""
    found = re.split(r"(?<=[.!?])\s+(?=[A-Z\"'])", " ".join(text.split()))
    return [s for s in found if shortest <= len(s.split()) <= longest and s[-1] in ".!?" and s[0].isupper()]


def first_line(reply: str) -> str:
    """Return the first line of a reply that holds anything."""
    return next((line for line in reply.splitlines() if line.strip()), "").strip()


def tidy(text: str) -> str:
    """Return a text without case, outer quotes, final full stop and doubled spaces."""
    return " ".join(text.casefold().strip().rstrip(".").strip("\"'“”").split())
