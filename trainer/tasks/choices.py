"""Answer the multiple-choice questions of a file."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from blake3 import blake3
from pydantic import Field

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.tasks._choice_scores import choice_scores
from windtunnel.trainer.tasks._evaluation import Asker, Measured, Row, Text
from windtunnel.trainer.tasks._file_task import FileTask, Question, text_of
from windtunnel.trainer.tasks._task import accepted


class Options(NamedTuple):
    """The choices of a question and the place of the right one."""

    choices: list[str]
    right: int


class Choices(FileTask):
    """Questions with choices, of which the model's most likely one is its answer.

    A line has `question`, `choices` and `answer`: the place of the right choice from 0, its text or its letter. `acc`
    takes the choice with the highest likelihood, `acc_norm` that with the highest likelihood per byte, which does not
    favour short ones; runs are compared by `acc_norm` in the form `cloze` and by `acc` in the form `letters` (as OLMES
    does, Gu et al. 2024, arXiv 2406.08446), or by `score`. `probability` and `probability_norm` are those of the right
    choice among the choices, as it is and per byte, which move at sizes where accuracy stays at chance.

    `shots: [0, 1, 4, 16]` asks each question after so many examples, questions with their answers of the same file or
    of `shots_from`, and never of one group with it. They are drawn by a hash of the seed and both questions' ids, the
    same for every model, and more examples are those of fewer and others.
    """

    # cloze: the likelihood of the choices as answers; letters: the choices are shown, and their letters are answers
    form: Literal["cloze", "letters"] = "cloze"
    prompt: str | None = Field(None, min_length=1)  # with {question}; by default the question, for plain models framed
    score: Literal["acc", "acc_norm", "probability", "probability_norm"] | None = None  # that runs are compared by
    shots: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    shots_from: str | None = None
    seed: int = 0  # of the draws

    asks_by: ClassVar[tuple[str, ...]] = ("file", "name", "shots_from")
    gives: ClassVar[str] = (
        '{"question": "Which is a fruit?", "choices": ["a stone", "a plum"], "answer": 1}\n'
        '{"question": "Which is red?", "choices": ["blood", "milk", "grass"], "answer": "A", "id": 7}\n'
        '{"question": "Which is cold?", "choices": ["ice", "fire"], "answer": "ice", "group": "weather"}\n'
    )
    refuses: ClassVar[tuple[tuple[str, str], ...]] = (
        ('{"question": "Which?", "choices": ["a", "b"], "answer": 2}', "line 1: the answer is 2, and there are 2"),
        ('{"question": "Which?", "choices": ["a", "b"], "answer": NaN}', "line 1 is not JSON"),
        ('{"question": "Which?", "choices": ["a", "b"], "answer": null}', "the answer is None"),
        ('{"question": "Which?", "choices": ["a", "b", "a"], "answer": 0}', "'a' is twice"),
        ('{"question": "Which?", "choices": ["a"], "answer": 0}', "two choices"),
        ('{"question": "Which?", "choices": ["B", "A"], "answer": "A"}', "means the first by its letter"),
        ('{"question": " ", "choices": ["a", "b"], "answer": 0}', "not blank"),
    )

    @property
    def compared_by(self) -> str:
        return self.score if self.score is not None and self.score.startswith("probability") else ""

    def parse(self, row: Mapping[str, Any]) -> tuple[str, Options]:
        question = text_of(row, "question", "prompt")
        choices = row.get("choices", row.get("options"))
        if not isinstance(choices, list) or len(choices) < 2 or len(choices) > len(ascii_uppercase):
            raise ValueError(f"'choices' must be a list of two choices or more, at most {len(ascii_uppercase)}")
        for choice in choices:
            if not isinstance(choice, str) or not choice.strip():
                raise ValueError(f"a choice must be a text that is not blank, not {one_line(repr(choice), 60)}")
        stripped = [choice.strip() for choice in choices]
        if twice := next((choice for choice in stripped if stripped.count(choice) > 1), None):
            raise ValueError(f"the choice {one_line(twice, 60)!r} is twice there: no answer would be the right one")
        return question, Options(stripped, _place(row.get("answer"), stripped))

    def files(self) -> list[Path]:
        return [Path(file) for file in (self.file, self.shots_from) if file]

    def measure(self, documents: Callable[[], Iterable[Text]], asker: Asker) -> Measured:
        """Score every choice; see Evaluation."""
        shown = self._shown(asker.chat)
        answers = [self._answers(question) for question, _, _ in shown]
        prompts = [prompt for _, _, prompt in shown]
        room = asker.room([answer for options in answers for answer in options])
        whole, named = ["\n".join(options) for options in answers], [self._part(shots) for _, shots, _ in shown]
        asked, dropped = accepted(self.title, asker, prompts, whole, room, named)
        flat = [(prompts[k], answer) for k in asked for answer in answers[k]]
        nats = asker.answer_nats([prompt for prompt, _ in flat], [answer for _, answer in flat], ended=False)
        ends = np.cumsum([len(answers[k]) for k in asked])
        parts = np.split(nats, ends[:-1])
        return Measured([self._row(*shown[k], answers[k], part) for k, part in zip(asked, parts, strict=True)], dropped)

    def _row(self, question: Question, shots: int, prompt: str, answers: list[str], nats: np.ndarray) -> Row:
        right = question.about.right
        sizes = np.array([len(answer.encode()) for answer in answers])
        metrics, chance = choice_scores(nats, sizes, right), 1 / len(answers)
        score = self.score or ("acc_norm" if self.form == "cloze" else "acc")
        likelihood = nats / sizes if score.endswith("_norm") else nats
        return Row(
            id=question.id,
            prompt=prompt,
            answer=answers[right],
            reply=answers[int(likelihood.argmin())],
            correct=metrics[score],
            group=question.group,
            bytes=int(sizes[right]),
            nats=float(nats[right]),
            metrics=metrics,
            chance=chance,
            chances=dict.fromkeys(metrics, chance),
            part=self._part(shots),
        )

    def _part(self, shots: int) -> str:
        return "" if self.shots == [0] else f"{shots} shots"

    def _shown(self, chat: bool) -> list[tuple[Question, int, str]]:
        """Return (question, examples, prompt) of everything that is asked."""
        questions = self.questions()
        source = questions if self.shots_from is None else self.model_copy(update={"file": self.shots_from}).questions()
        out = []
        for question in questions:
            examples = self._examples(question, source)
            for shots in self.shots:
                if shots > len(examples):
                    raise InputError(
                        f"{self.shots_from or self.file}: {shots} examples are asked for, and there are "
                        f"{len(examples)} questions beside {one_line(question.id, 60)!r}"
                    )
                parts = [self._text(one, False) + f" {self._answers(one)[one.about.right]}" for one in examples[:shots]]
                out.append((question, shots, "\n\n".join([*parts, self._text(question, chat and not shots)])))
        return out

    def _examples(self, question: Question, source: list[Question]) -> list[Question]:
        """Return the questions of `source` that can be examples of one, in the order in which they are drawn."""
        most = max(self.shots)
        if not most:
            return []
        others = [q for q in source if q.id != question.id and q.text != question.text]
        others = [q for q in others if not (q.group and q.group == question.group)]
        key = blake3(f"{self.seed}\0{question.id}".encode()).digest()
        return heapq.nsmallest(most, others, key=lambda q: blake3(q.id.encode(), key=key).digest())

    def _answers(self, question: Question) -> list[str]:
        choices = question.about.choices
        return choices if self.form == "cloze" else list(ascii_uppercase[: len(choices)])

    def _text(self, question: Question, chat: bool) -> str:
        text = question.text
        if self.form == "letters":
            lines = [f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, question.about.choices)]  # noqa: B905
            text = "\n".join([text, *lines])
        return framed(text, self.prompt, chat)


def framed(question: str, prompt: str | None, chat: bool) -> str:
    """Return what a model is asked: the prompt around the question, or the usual one of chat or plain models."""
    if prompt is not None:
        return prompt.replace("{question}", question)
    return question if chat else f"Question: {question}\nAnswer:"


def _place(answer: Any, choices: list[str]) -> int:
    """Return the place of the right choice: a number from 0, the choice's text, or its letter. Raises ValueError."""
    number = int(answer) if isinstance(answer, float) and answer.is_integer() else answer
    if isinstance(number, int) and not isinstance(number, bool):
        if not 0 <= number < len(choices):
            raise ValueError(f"the answer is {number}, and there are {len(choices)} choices, numbered from 0")
        return number
    if not isinstance(answer, str):
        raise ValueError(f"the answer is {one_line(repr(answer), 60)}: give the place of a choice, its text or letter")
    by_text = choices.index(answer.strip()) if answer.strip() in choices else None
    letter = answer.strip().upper()
    by_letter = ascii_uppercase.index(letter) if len(letter) == 1 and letter in ascii_uppercase else None
    if by_letter is not None and by_letter >= len(choices):
        by_letter = None
    if by_text is not None and by_letter is not None and by_text != by_letter:
        order = ("first", "second", "third")
        place = order[by_letter] if by_letter < len(order) else f"{by_letter + 1}th"
        raise ValueError(
            f"the answer {letter!r} means the {place} by its letter and another choice by its text: give the place"
        )
    found = by_text if by_text is not None else by_letter
    if found is None:
        raise ValueError(f"the answer {one_line(answer, 60)!r} is neither a choice nor the letter of one")
    return found
