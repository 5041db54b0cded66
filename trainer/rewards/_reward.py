"""The base classes of rewards: what an objective on a model's own replies gives to each of them.

A reward sees the prompt, the reply and, where the row has one, the reference answer: the last assistant turn of a
conversation. Modules of this directory import torch inside functions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.limited_process import CallFailed, LimitedProcess, LimitExceeded
from windtunnel.schemas.plugin import Plugin, errors_of, full_spec, label
from windtunnel.schemas.printable import one_line

MOST_FAILED = 0.2  # share of a round's replies on which a verifier may fail
APART = "windtunnel.trainer.rewards._apart:reward"  # a function, called in the other process
MEMORY = 1 << 29  # bytes of a verifier beside its imports


class Reply(NamedTuple):
    """A reply of the model that is trained."""

    row: str  # id of the row that it answers
    messages: Sequence[Mapping[str, Any]]  # the prompt
    text: str
    answer: str | None = None  # the row's own answer, the last turn of its conversation
    ended: bool = True  # False: it was cut at the largest number of tokens


class Scores(NamedTuple):
    """Rewards of replies, and on how many a verifier failed, whose reward is its `failed`."""

    values: list[float]
    failed: int = 0


class Example(NamedTuple):
    """A reply and its reward with some parameters; `windtunnel check reward NAME` runs it."""

    text: str
    reward: float
    answer: str | None = None
    params: Mapping[str, Any] = {}
    prompt: str = "Which?"

    def reply(self) -> Reply:
        return Reply("example", [{"role": "user", "content": self.prompt}], self.text, self.answer)


class Places(NamedTuple):
    """What a reward may read and keep: model directories by name, and a directory for answers that cost something."""

    models: Mapping[str, Path]
    cache: Path
    device: str = "cpu"


Scorer = Callable[[Sequence[Reply]], Scores]


class Reward(Plugin, ABC):
    """A number for each reply: one file in trainer/rewards."""

    needs_answer: ClassVar[bool] = False  # rows without an answer of their own are refused
    server: ClassVar[str | None] = None  # a parameter that names one, without which examples cannot be scored
    examples: ClassVar[tuple[Example, ...]] = ()

    def models(self) -> tuple[str, ...]:
        """Return the names of the recipe's models that it reads."""
        return ()

    def reads_stages(self) -> tuple[str, ...]:
        """Return the objectives of earlier stages whose models it reads."""
        return ()

    @property
    def asks_answer(self) -> bool:
        """Whether rows need an answer of their own."""
        return self.needs_answer

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return whether the rows need an answer of their own."""
        return {"needs_answer": cls.needs_answer}

    @abstractmethod
    def scorer(self, places: Places) -> Scorer:
        """Return what scores replies. Raises InputError if something that it reads is missing."""


class Verifier(Reward):
    """A reward that code computes from one reply at a time, in a process of its own with limits.

    A reply on which it raises, or that takes it longer than `seconds`, gets the reward `failed` and is counted; where
    more than a fifth of a round fails, the run stops.
    """

    seconds: int = Field(2, ge=1)  # processor time for a reply
    failed: float = 0.0  # the reward of a reply on which the verifier fails

    @abstractmethod
    def reward(self, reply: Reply) -> float:
        """Return the reward of a reply."""

    def scorer(self, places: Places) -> Scorer:
        """Return what scores replies in another process; see Reward."""
        process = _process(self.seconds)
        spec, directory = full_spec(self), str(plugin_files.directory())

        def score(replies: Sequence[Reply]) -> Scores:
            values, problems = list[float](), list[str]()
            for reply in replies:
                try:
                    values.append(float(process.call(spec, directory, reply._asdict())))
                    continue
                except LimitExceeded as error:
                    problems.append(f"row {one_line(reply.row, 60)}: {error} ({self.seconds} s)")
                except CallFailed as error:
                    problems.append(f"row {one_line(reply.row, 60)}: {error.kind}: {one_line(str(error), 200)}")
                values.append(self.failed)
                if len(problems) > MOST_FAILED * len(replies):  # now, since each may take as long as there is
                    raise InputError(
                        f"the reward {label(self)!r} failed on {len(problems)} of {len(values)} replies, first on "
                        f"{problems[0]}"
                    )
            return Scores(values, len(problems))

        return score


@cache
def _process(seconds: int) -> LimitedProcess:
    """Return the process of verifiers with a limit, which starts with its first call."""
    return LimitedProcess(APART, cpu_seconds=seconds, memory_bytes=MEMORY, reply_bytes=1 << 16)


def checked(reward: Reward, scorer: Scorer, replies: Sequence[Reply]) -> Scores:
    """Return the rewards of replies. Raises InputError for values that are not finite or not one a reply."""
    with errors_of(reward, "its scorer"):
        scores = scorer(replies)
    if len(scores.values) != len(replies):
        raise InputError(f"the reward {label(reward)!r} gives {len(scores.values)} values for {len(replies)} replies")
    wrong = [k for k, value in enumerate(scores.values) if not math.isfinite(value)]
    if wrong:
        reply = replies[wrong[0]]
        raise InputError(
            f"the reward {label(reward)!r} is {scores.values[wrong[0]]} for the reply {one_line(reply.text, 80)!r} to "
            f"row {one_line(reply.row, 60)!r}, and for {len(wrong)} of {len(replies)} replies: it must be a number"
        )
    return scores
