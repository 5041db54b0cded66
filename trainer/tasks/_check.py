"""Checks a task: `gives` gives an item and `gives_none` none, whatever else there is, and the right answer is right.

Of a task on files, the text `gives` has questions, and every text that it `refuses` is refused in the words it says.
Of a made-up one, items depend on the seed alone.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.finding import Finding, finding
from windtunnel.trainer.tasks._evaluation import Asker, Evaluation, Pieces, Text
from windtunnel.trainer.tasks._file_task import FileTask
from windtunnel.trainer.tasks._made_task import MadeTask
from windtunnel.trainer.tasks._task import Item, Task

OTHERS = [Text(f"o{k}", f"The Thing {k} is a made thing of the kind {k}. It exists.") for k in range(5)]
WRONG = ("", "7777777 I do not know")
DRAWS = 8


def check(cls: type[Evaluation]) -> Iterator[Finding]:
    """Yield the outcome of the examples and of what holds for every task."""
    if issubclass(cls, MadeTask):
        yield finding("items depend on the seed alone", lambda: _made(cls))
        return
    gives = getattr(cls, "gives", None)
    if gives is not None and cls.needs_documents and not issubclass(cls, Task):
        yield finding(f"a score of {gives!r}", lambda: _measured(cls, gives))
        return
    if gives is None or not issubclass(cls, Task | FileTask):
        yield Finding("gives", "no example of a text that gives an item: set `gives` of a Task or a FileTask")
    elif issubclass(cls, FileTask):
        yield finding(f"questions from {gives!r}", lambda: _read(cls, gives))
        for text, words in cls.refuses:
            yield finding(f"none from {text!r}", lambda text=text, words=words: _refused(cls, text, words))
    else:
        yield from _of_documents(cls, gives)


class _Finder:
    """An asker that finds a byte of a text as likely as any other."""

    chat = False

    def pieces(self, contexts: Sequence[Sequence[str]], texts: Sequence[Sequence[str]]) -> list[Pieces]:
        sizes = [np.array([len(piece.encode()) for piece in text]) for text in texts]
        return [Pieces(size * math.log(256), size, size // 2) for size in sizes]


def _measured(cls: type[Evaluation], text: str) -> str | None:
    """Measure documents in two orders, by something that only has likelihoods of texts."""
    documents, asker = [Text("a", text), *OTHERS], cast(Asker, _Finder())
    found = cls().measure(lambda: documents, asker)
    if {row.id for row in found.rows} != {one.id for one in documents}:
        return f"{len(documents)} documents give {len(found.rows)} scores: {found.dropped}"
    return None if cls().measure(lambda: documents[::-1], asker) == found else "it depends on the order of documents"


def _made(cls: type[MadeTask]) -> str | None:
    items = cls(items=4).make()
    for part in {item.part for item in items}:
        if len({item.id for item in items if item.part == part}) != 4:
            return f"4 items of the part {part!r} were asked for"
    if cls(items=4).make() != items:
        return "two makings with one seed differ"
    if cls(items=4, seed=1).make() == items:
        return "another seed gives the same items"
    if [item for item in items if item.id in {one.id for one in cls(items=2).make()}] != cls(items=2).make():
        return "fewer items are not the first of more"
    same = next((item for item in items if len(set(item.texts)) < len(item.texts)), None)
    return f"two of the texts are the same: {same}" if same else None


def _read(cls: type[FileTask], text: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        task = cls(file=str(Path(folder, "example")), name=None)
        Path(task.file).write_text(text, encoding="utf-8")
        return None if task.whole() else "it gives no questions"


def _refused(cls: type[FileTask], text: str, words: str) -> str | None:
    try:
        _read(cls, text)
    except InputError as error:
        return None if words in str(error) else f"refused, but not in these words, {words!r}: {error}"
    return "it is read"


def _of_documents(cls: type[Task], gives: str) -> Iterator[Finding]:
    yield finding(f"an item from {gives!r}", lambda: _items(cls()))  # type: ignore[call-arg]
    yield finding(f"none from {cls.gives_none!r}", lambda: _none(cls()))  # type: ignore[call-arg]
    yield finding("items depend on the documents and the seed alone", lambda: _order(cls))


def _item(task: Task, text: str, seed: int) -> Item | None:
    return task.item([Text("a", text), *OTHERS], random.Random(seed))


def _items(task: Task) -> str | None:
    for seed in range(DRAWS):
        item = _item(task, task.gives, seed)
        if item is None:
            return f"no item with the random seed {seed}"
        if item != _item(task, task.gives, seed):
            return "two items of one text and one random seed differ"
        if item.id != "a" or not item.answer.strip():
            return f"the item must carry the id of the first text and an answer: {item}"
        if task.score(item, item.answer) != 1:
            return f"the right answer {item.answer!r} scores {task.score(item, item.answer)}"
        if wrong := [reply for reply in WRONG if task.score(item, reply) != 0]:
            return f"the reply {wrong[0]!r} to {item.prompt!r} scores {task.score(item, wrong[0])}"
    return None


def _none(task: Task) -> str | None:
    drawn = [item for seed in range(DRAWS) if (item := _item(task, task.gives_none, seed))]
    return f"it gives {drawn[0]}" if drawn else None


def _order(cls: type[Task]) -> str | None:
    documents = [Text(f"d{k}", cls.gives if k % 3 else cls.gives_none) for k in range(12)] + OTHERS
    shuffled = random.Random(0).sample(documents, len(documents))
    items = cls(items=4).make(documents)
    if len(items) != 4 or len({item.id for item in items}) != 4:
        return f"4 items were asked for, from different documents: {items}"
    if cls(items=4).make(shuffled) != items:
        return "the documents in another order give other items"
    return None if cls(items=2).make(documents) == items[:2] else "fewer items are not the first of more"
