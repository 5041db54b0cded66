"""Answer the multiple-choice questions of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from string import ascii_uppercase
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from windtunnel.schemas.printable import one_line
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
    does, Gu et al. 2024, arXiv 2406.08446). `probability` is that of the right choice among the choices.
    """

    # cloze: the likelihood of the choices as answers; letters: the choices are shown, and their letters are answers
    form: Literal["cloze", "letters"] = "cloze"
    prompt: str | None = Field(None, min_length=1)  # with {question}; by default the question, for plain models framed

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

    def measure(self, documents: Callable[[], Iterable[Text]], asker: Asker) -> Measured:
        """Score every choice; see Evaluation."""
        questions = self.questions()
        answers = [self._answers(question) for question in questions]
        prompts = [self._shown(question, asker.chat) for question in questions]
        room = asker.room([answer for options in answers for answer in options])
        asked, dropped = accepted(self.title, asker, prompts, ["\n".join(options) for options in answers], room)
        flat = [(prompts[k], answer) for k in asked for answer in answers[k]]
        nats = asker.answer_nats([prompt for prompt, _ in flat], [answer for _, answer in flat], ended=False)
        ends = np.cumsum([len(answers[k]) for k in asked])
        parts = np.split(nats, ends[:-1])
        rows = [self._row(questions[k], prompts[k], answers[k], part) for k, part in zip(asked, parts, strict=True)]
        return Measured(rows, dropped)

    def _row(self, question: Question, prompt: str, answers: list[str], nats: np.ndarray) -> Row:
        options: Options = question.about
        sizes = np.array([len(answer.encode()) for answer in answers])
        likeliest = {"acc": int(nats.argmin()), "acc_norm": int((nats / sizes).argmin())}
        share = np.exp(nats.min() - nats)
        chosen = likeliest["acc_norm" if self.form == "cloze" else "acc"]
        metrics = {name: float(place == options.right) for name, place in likeliest.items()}
        return Row(
            id=question.id,
            prompt=prompt,
            answer=answers[options.right],
            reply=answers[chosen],
            correct=float(chosen == options.right),
            group=question.group,
            bytes=int(sizes[options.right]),
            nats=float(nats[options.right]),
            metrics={**metrics, "probability": float(share[options.right] / share.sum())},
        )

    def _answers(self, question: Question) -> list[str]:
        choices = question.about.choices
        return choices if self.form == "cloze" else list(ascii_uppercase[: len(choices)])

    def _shown(self, question: Question, chat: bool) -> str:
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
