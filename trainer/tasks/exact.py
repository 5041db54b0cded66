"""Answer the questions of a file that have one exact answer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator

from windtunnel.schemas.printable import one_line
from windtunnel.trainer.tasks._evaluation import Asker, Measured, Row, Text
from windtunnel.trainer.tasks._file_task import FileTask, text_of
from windtunnel.trainer.tasks._task import accepted, first_line
from windtunnel.trainer.tasks.choices import framed

ARTICLES = re.compile(r"\b(a|an|the)\b")
SIGNS = re.compile(r"(?<=\d)[.,:/](?=\d)|(?<![\w.])[-\u2212](?=[\d.])")  # of numbers


class Exact(FileTask):
    """Questions with an exact answer, compared with the first line of the reply as SQuAD and TriviaQA compare answers.

    A line has `question`, `answer` (a text or a number) and, optionally, `aliases`, further right answers. Case,
    punctuation outside of numbers, English articles and white space do not count (`exact_match`, which runs are
    compared by). `contains` asks only that the reply has the answer's words somewhere.
    """

    prompt: str | None = Field(None, min_length=1)  # with {question}; by default the question, for plain models framed
    extract: str | None = None  # a regular expression: the last match in the reply (its group) is the model's answer
    max_tokens: int = Field(64, ge=1)  # of the reply

    gives: ClassVar[str] = (
        '{"question": "What is the capital of France?", "answer": "Paris"}\n'
        '{"question": "What is 6 times 7?", "answer": 42, "aliases": ["forty-two"]}\n'
    )
    refuses: ClassVar[tuple[tuple[str, str], ...]] = (
        ('{"question": "What?"}', "line 1: there is no 'answer'; its columns: question"),
        ('{"question": "What?", "answer": "the"}', "nothing is left"),
        ('\n{"question": "What?", "answer": "it", "aliases": "that"}', "line 2: 'aliases' must be a list"),
        ('{"question": "What?", "answer": "it"}\n{"question": "What?", "answer": "it"}', "lines 1 and 2"),
        ('{"question": "What?", "answer": "it"', "line 1 is not JSON"),
        ("[1]", "is not an object"),
        ("", "has no questions"),
    )

    @field_validator("extract")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            groups = re.compile(pattern or "").groups
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        if groups > 1:
            raise ValueError(f"{pattern!r} has {groups} groups, and one is the answer: write others as (?:...)")
        return pattern

    def parse(self, row: Mapping[str, Any]) -> tuple[str, list[str]]:
        question, aliases = text_of(row, "question", "prompt"), row.get("aliases") or []
        if not isinstance(aliases, list):
            raise ValueError(f"'aliases' must be a list of texts, not {one_line(repr(aliases), 60)}")
        if "answer" not in row:
            text_of(row, "answer")
        answers = [_text(answer) for answer in (row["answer"], *aliases)]
        return question, answers

    def measure(self, documents: Callable[[], Iterable[Text]], asker: Asker) -> Measured:
        """Ask every question and compare the replies; see Evaluation."""
        questions = self.questions()
        prompts = [framed(question.text, self.prompt, asker.chat) for question in questions]
        first = [question.about[0] for question in questions]
        asked, dropped = accepted(self.title, asker, prompts, first, max(self.max_tokens, asker.room(first)))
        replies = asker.free_replies([prompts[k] for k in asked], self.max_tokens)
        nats = asker.answer_nats([prompts[k] for k in asked], [first[k] for k in asked], ended=False)
        rows = []
        for k, reply, value in zip(asked, replies, nats, strict=True):
            right = {normalised(answer) for answer in questions[k].about}
            match = float(normalised(self.answer_in(reply)) in right)
            words = f" {normalised(reply)} "
            rows.append(
                Row(
                    id=questions[k].id,
                    prompt=prompts[k],
                    answer=first[k],
                    reply=reply,
                    correct=match,
                    group=questions[k].group,
                    bytes=len(first[k].encode()),
                    nats=float(value),
                    metrics={"exact_match": match, "contains": float(any(f" {one} " in words for one in right))},
                )
            )
        return Measured(rows, dropped)

    def answer_in(self, reply: str) -> str:
        """Return the part of a reply that is compared; empty where `extract` finds none."""
        if self.extract is None:
            return first_line(reply)
        found = list(re.finditer(self.extract, reply))
        return found[-1].group(found[-1].re.groups) or "" if found else ""


def normalised(text: str) -> str:
    """Return a text in lower case without articles, punctuation and repeated spaces (SQuAD's evaluation script).

    Signs between and before digits stay, because 3.5 is not 35 and -1 is not 1; Unicode's variants are made one.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    signs = {match.start() for match in SIGNS.finditer(plain)}
    kept = (
        c.replace("\u2212", "-") if place in signs else "" if unicodedata.category(c)[0] in "PS" else c
        for place, c in enumerate(plain)
    )
    return " ".join(ARTICLES.sub(" ", "".join(kept)).split())


def _text(answer: Any) -> str:
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise ValueError(f"an answer must be a text or a number, not {one_line(repr(answer), 60)}")
    text = str(answer).strip()
    if not normalised(text):
        raise ValueError(f"of the answer {one_line(text, 60)!r} nothing is left to compare")
    return text
