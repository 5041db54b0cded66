"""The base class of families of tasks, and what families take from a text: passages, phrases and lists of words.

A task of a family makes a question with one exact answer from a document, and carries the wordings in which it is
asked, as the task sets of FLAN do (Wei et al. 2022, arXiv 2109.01652). Its answer is computed in `make` and confirmed
in `verify`, which sees no more than a reader of the question does and takes another way.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from windtunnel.schemas.plugin import Plugin

Fields = Mapping[str, str]
FEWEST_TEMPLATES = 4  # of a task, so that wordings can be held out
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'“])")
_PHRASE = re.compile(r"(?<![\w'’-])[A-Za-z]+(?: [A-Za-z]+)*(?![\w'’-])")
_WORD = re.compile(r"(?<![\w'’-])[a-z]{3,10}(?![\w'’-])")


class Item(NamedTuple):
    """What a question shows, by the names of its template's fields, and the answer."""

    fields: Fields
    answer: str


class FamilyTask(NamedTuple):
    """A kind of question: its wordings, how one is made from a text, and how its answer is confirmed.

    `make(text, rng, longest)` shows at most `longest` words of the text, and returns None where the text gives no
    question. `verify(fields, answer)` returns whether the answer is right.
    """

    make: Callable[[str, random.Random, int], Item | None]
    verify: Callable[[Fields, str], bool]
    templates: tuple[str, ...]  # with {fields}; the instruction before or after the text, the form asked for or not


class Family(Plugin):
    """A family of tasks: one file in generators/families."""

    tasks: ClassVar[Mapping[str, FamilyTask]]
    gives: ClassVar[str]  # a text of which every task makes a question

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return the tasks with the numbers of their templates."""
        return {"tasks": {name: len(task.templates) for name, task in cls.tasks.items()}}


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, split after end marks before a capital, without those that lack either."""
    parts = _SENTENCE_END.split(" ".join(text.split()))
    return [part for part in parts if part and part[-1] in ".!?" and part[0].isupper()]


def passage(text: str, rng: random.Random, longest: int, fewest: int = 6) -> str | None:
    """Return consecutive sentences of `fewest` to `longest` words from a random one on, None where there are none."""
    parts = sentences(text)
    sizes = [len(part.split()) for part in parts]
    starts = [n for n, size in enumerate(sizes) if size <= longest]
    rng.shuffle(starts)
    for start in starts:
        end, words = start, 0
        while end < len(parts) and words + sizes[end] <= longest:
            words += sizes[end]
            end += 1
        if words >= fewest:
            return " ".join(parts[start:end])
    return None


def phrase(text: str, rng: random.Random, words: int) -> list[str] | None:
    """Return that many words of letters that follow one another in a sentence with single spaces, None without any."""
    runs = [run for found in _PHRASE.findall(" ".join(text.split())) if len(run := found.split()) >= words]
    if not runs:
        return None
    run = rng.choice(runs)
    start = rng.randrange(len(run) - words + 1)
    return run[start : start + words]


def plain_words(text: str, rng: random.Random, number: int) -> list[str] | None:
    """Return that many different words of 3 to 10 small letters at random, None where a text has fewer."""
    known = sorted(set(_WORD.findall(text)))
    return rng.sample(known, number) if len(known) >= number else None


def parts_of(listed: str) -> list[str]:
    """Return the parts of a list that is written with commas."""
    return [part.strip() for part in listed.split(",")]
