"""The base class of checkable tasks: questions with one exact answer, made from documents.

Items are a function of the documents, the seed and the task's parameters. Documents are ordered by a hash of (seed,
task, id), and each gives at most one item, until there are enough. The recipe names the documents, which should be held
out from training.
"""

from __future__ import annotations

import heapq
import random
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, NamedTuple

from blake3 import blake3
from pydantic import Field

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label
from windtunnel.trainer.tasks._evaluation import Asker, Evaluation, Measured, Row, Text, not_asked

TEXT_LIMIT = 4000  # characters of a document that a task reads
SPARES = 20  # candidate documents per item, because some tasks find no item in most documents


class Item(NamedTuple):
    """A question and its answer."""

    id: str  # of the document from which it was made
    prompt: str
    answer: str


class Task(Evaluation):
    """A kind of question made from documents. Items are scored by the generated reply and the answer's nats."""

    about: ClassVar[str] = "questions with exact answers, made from documents of {corpus}"
    needs_documents: ClassVar[bool] = True

    items: int = Field(100, ge=1)
    seed: int = 0

    # Texts with and without an item, on which the discovery test runs every task.
    gives: ClassVar[str]
    gives_none: ClassVar[str] = "no"

    @abstractmethod
    def item(self, texts: Sequence[Text], rng: random.Random) -> Item | None:
        """Return an item from the first of `texts` (the others may serve as distractors), or None."""

    def score(self, item: Item, reply: str) -> float:
        """Return 1 if the first line of the reply equals the answer, ignoring case and final punctuation, else 0."""
        return float(tidy(first_line(reply)) == tidy(item.answer))

    def make(self, documents: Iterable[Text]) -> list[Item]:
        """Return at most `items` items made from documents."""
        texts = self._chosen(documents)
        out: list[Item] = []
        for place in range(len(texts)):
            if len(out) == self.items:
                break
            rotated = [*texts[place : place + SPARES], *texts[: max(0, place + SPARES - len(texts))]]
            if (item := self.item(rotated, random.Random(self._key(texts[place].id)))) is not None:
                out.append(item)
        return out

    def measure(self, documents: Callable[[], Iterable[Text]], asker: Asker) -> Measured:
        """Ask the questions that are made from the documents; see Evaluation."""
        made = self.make(documents())
        if not made:
            raise InputError(f"no document from which task {self.title!r} can make an item")
        prompts, answers = [item.prompt for item in made], [item.answer for item in made]
        asked, dropped = accepted(self.title, asker, prompts, answers, asker.room(answers))
        if missing := self.items - len(made):
            dropped["too_few_documents"] = missing
        items = [made[k] for k in asked]
        prompts, answers = [item.prompt for item in items], [item.answer for item in items]
        replies, nats = asker.replies(prompts, answers), asker.answer_nats(prompts, answers)
        rows = [
            Row(
                id=item.id,
                prompt=item.prompt,
                answer=item.answer,
                reply=reply,
                correct=self.score(item, reply),
                bytes=len(item.answer.encode()),
                nats=float(value),
            )
            for item, reply, value in zip(items, replies, nats, strict=True)
        ]
        return Measured(rows, dropped)

    def _chosen(self, documents: Iterable[Text]) -> list[Text]:
        """Return the documents with the smallest keys, in key order, in bounded memory."""
        keyed = ((self._key(d.id), d.id, Text(d.id, d.text[:TEXT_LIMIT])) for d in documents)
        return [text for _, _, text in heapq.nsmallest(SPARES * self.items, keyed)]

    def _key(self, document: str) -> int:
        return int.from_bytes(blake3(f"{self.seed}\0{label(self)}\0{document}".encode()).digest(8), "big")


def accepted(
    name: str, asker: Asker, prompts: Sequence[str], answers: Sequence[str], tokens: int, parts: Sequence[str] = ()
) -> tuple[list[int], dict[str, int]]:
    """Return the places of the prompts that a model can be asked, and the number of the others as in Measured.

    `parts` are those of the prompts, where there are any. Raises InputError if it can be asked none of them.
    """
    reasons = [asker.refusal(prompt, tokens, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    places = [place for place, reason in enumerate(reasons) if reason is None]
    refused = {place: reason for place, reason in enumerate(reasons) if reason is not None}
    if not places:
        detail = ", ".join(f"{reason} {number}" for reason, number in Counter(refused.values()).most_common())
        room = f" (with {tokens:,} tokens for the reply)" if "too_long" in refused.values() else ""
        raise InputError(f"the model accepts none of the {len(prompts)} questions of task {name!r}: {detail}{room}")
    return places, not_asked((parts[place] if parts else "", reason) for place, reason in refused.items())


def sentences(text: str, shortest: int, longest: int) -> list[str]:
    """Return the sentences with `shortest` to `longest` words, split after end marks before a capital."""
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z\"'])", " ".join(text.split()))
    return [s for s in parts if shortest <= len(s.split()) <= longest and s[-1] in ".!?" and s[0].isupper()]


def first_line(reply: str) -> str:
    """Return the first non-blank line of a reply."""
    return next((line for line in reply.splitlines() if line.strip()), "").strip()


def tidy(text: str) -> str:
    """Return a text in lower case without outer quotes, final full stop and repeated spaces."""
    return " ".join(text.casefold().strip().rstrip(".").strip("\"'“”").split())
