"""The base class of evaluations by tasks: questions that a model answers, each with a score of its own.

`Task` (trainer.tasks._task) makes its questions from documents, `FileTask` (trainer.tasks._file_task) reads them from a
file of the user. Both ask the model through `Asker`, which trainer.eval implements for chat models and for plain ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from windtunnel.schemas.plugin import Plugin, label


class Text(NamedTuple):
    """A document as the input of a task."""

    id: str
    text: str


class Row(NamedTuple):
    """The outcome of one question."""

    id: str
    prompt: str
    answer: str  # empty where no one answer is right
    reply: str
    correct: float  # the score that runs are compared by, from 0 to 1
    group: str = ""  # shared by questions of one origin; empty: the question is its own
    bytes: int | None = None  # of the right answer
    nats: float | None = None  # of the right answer, given the prompt
    metrics: Mapping[str, float] = {}  # further scores by name

    chance: float | None = None  # the expected `correct` of a guess
    chances: Mapping[str, float] = {}  # those of further scores
    tokens: int | None = None  # of the right answer
    part: str = ""  # of the task, such as a number of examples, by which its scores are shown


class Pieces(NamedTuple):
    """How likely a model finds the pieces of a text, each after those before it."""

    nats: np.ndarray  # float64 [pieces]
    tokens: np.ndarray  # int64 [pieces]
    hits: np.ndarray  # int64 [pieces], tokens than which the model finds no other likelier
    cut: bool = False  # the model has no room for the whole context


class Measured(NamedTuple):
    """The outcomes of the questions of a task, and why others have none."""

    rows: Sequence[Row]
    dropped: Mapping[str, int]  # questions that were not asked, by reason or, in parts, by PART:REASON


class Asker(Protocol):
    """A model that can be asked."""

    chat: bool  # prompts are user turns of a chat template, and not the beginning of a text

    def refusal(self, prompt: str, tokens: int, answer: str = "") -> str | None:
        """Return the reason code of a prompt that cannot get a reply of up to `tokens`, or None."""
        ...

    def room(self, answers: Sequence[str]) -> int:
        """Return the largest number of tokens of a reply, given the correct answers."""
        ...

    def replies(self, prompts: Sequence[str], answers: Sequence[str]) -> list[str]:
        """Return the greedy reply to every prompt, limited by the correct answer's length."""
        ...

    def free_replies(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """Return the greedy reply to every prompt, at most `max_tokens` long."""
        ...

    def answer_nats(self, prompts: Sequence[str], answers: Sequence[str], ended: bool = True) -> np.ndarray:
        """Return the nats of every answer given its prompt, float64 [prompts].

        `ended`: with those of the token that ends a turn. Choices are compared without: a chat model that answers in
        sentences finds the end after one word so unlikely that it would decide.
        """
        ...

    def pieces(self, contexts: Sequence[Sequence[str]], texts: Sequence[Sequence[str]]) -> list[Pieces]:
        """Return the scores of the pieces of each text after its context, both as they stand, without a template.

        Each piece is encoded by itself. Contexts that do not fit are cut on the left.
        """
        ...

    def harness_model(self) -> Any:
        """Return the model behind the interface `LM` of lm-eval."""
        ...


class Evaluation(Plugin, ABC):
    """A set of questions with a score each: one file in trainer/tasks."""

    about: ClassVar[str] = "questions of your own"  # what runs are measured on; {corpus} is that of `needs_documents`
    needs_documents: ClassVar[bool] = False
    likelihoods: ClassVar[bool] = True  # every row has bytes and nats of a right answer

    @property
    def title(self) -> str:
        """The name of the task in tables; it begins the ids of its items."""
        return label(self)

    def files(self) -> list[Path]:
        """Return the files that the questions are read from, whose contents are part of a step's key."""
        return []

    @property
    def compared_by(self) -> str:
        """The name of the score that runs are compared by, of letters, digits and `_`; empty: if an answer is right."""
        return ""

    @abstractmethod
    def measure(self, documents: Callable[[], Iterable[Text]], asker: Asker) -> Measured:
        """Ask all questions and return their outcomes; `documents` are those of the recipe, read when called.

        Raises InputError if there is no question, or the model accepts none.
        """


def not_asked(questions: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return the number of questions, given as (part, reason), as in Measured."""
    return dict(Counter(f"{part}:{reason}" if part else reason for part, reason in questions))
