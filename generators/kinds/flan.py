"""Makes instructions with one checkable answer from documents, family by family, after FLAN (Wei et al. 2022).

Answers are computed, so no model is asked and nothing is judged. Families are plug-ins (`windtunnel list family`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from windtunnel.generators.core.generator import Dropped, Example, Generator, Kept, Outcome
from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.families._family import Family, FamilyTask, Item
from windtunnel.schemas.errors import nearest
from windtunnel.schemas.plugin import label, make

SHOWN = 200  # characters of a document that gave no question


class Flan(Generator):
    """Makes conversations of one question and its answer; `source` of a row is the family.

    `templates` are the wordings that a task may take: the first so many, or those with these numbers from 0 on, so that
    other sets can hold others. A document gives at most `per_document` rows, each of another task and, while there are
    families, of another family. Documents are taken in an order that the seed decides, until there are enough rows;
    what a row says depends on the seed and the document alone. A row's lineage has family, task and template.
    """

    primary: ClassVar[str | None] = "rows"
    asks: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ("documents",)
    sequential: ClassVar[bool] = True  # how many documents are read depends on how many gave a question
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"families": ["extraction"], "tasks": ["year"], "templates": [1], "rows": 5},
            inputs={
                "documents": [
                    {
                        "id": "a",
                        "source": "s",
                        "text": "The mill stands by the river. It was built in 1843 by two men.",
                    },
                    {"id": "b", "source": "s", "text": "The mill stands by the river. Nobody knows who built it."},
                ]
            },
            replies={},
            kept=[
                [
                    "The mill stands by the river. It was built in 1843 by two men.\n\n"
                    "What year does the passage mention?",
                    "1843",
                ]
            ],
            dropped={"no_question": 1},
        ),
    )

    rows: int = Field(1000, gt=0)
    families: list[Any] = Field(
        default_factory=lambda: [
            "arithmetic", "counting", "extraction", "format_following", "question_answering", "rewriting", "sorting",
        ],
        min_length=1,
    )  # fmt: skip
    tasks: list[str] | None = Field(None, min_length=1)  # of the families; default: all
    templates: int | list[int] | None = None  # how many of each task, or which; default: all
    longest: int = Field(60, ge=10)  # words of a text in a question
    per_document: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _known(self) -> Flan:
        families = {label(family): family for family in self.nested()}
        if len(families) < len(self.families):
            raise ValueError("two of `families` have one name")
        known = {name for family in families.values() for name in family.tasks}
        for name in self.tasks or ():
            if name not in known:
                raise ValueError(f"no task of these families is called {name!r}: {nearest(name, known)}")
        tasks = {name: task for family in families.values() for name, task in _chosen(family, self.tasks).items()}
        for name, family in families.items():
            if not _chosen(family, self.tasks):
                raise ValueError(f"`tasks` names none of the family {name!r}: {', '.join(family.tasks)}")
        if isinstance(self.templates, list) and len(set(self.templates)) < len(self.templates):
            raise ValueError("`templates` names one twice")
        for name, task in tasks.items():
            if not set(self._templates(task)) <= set(range(len(task.templates))) or not self._templates(task):
                raise ValueError(f"the task {name!r} has {len(task.templates)} templates, from 0 on: name one or more")
        return self

    def nested(self) -> list[Family]:
        """Return the families."""
        return [make(Family, spec) for spec in self.families]

    def outcomes(self, session: Session) -> Iterator[Outcome]:
        """Yield the rows of documents in the seed's order, and the documents that gave none."""
        table, families = session.inputs["documents"], {label(family): family for family in self.nested()}
        keys = (session.number("order", number) for number in range(len(table)))
        order = np.argsort(np.fromiter(keys, np.int64, len(table)), kind="stable")
        place = 0
        while place < len(order) and (missing := self.rows - session.kept) > 0:
            batch = order[place : place + -(-missing // self.per_document)]
            for _, record in table.pick(batch.tolist()):
                session.attempts.take("documents", record, len(table))
                yield from self._of(session, families, record)
            place += len(batch)

    def _of(self, session: Session, families: dict[str, Family], record: Record) -> Iterator[Outcome]:
        rng = session.random("tasks", record["id"])
        queues = {name: _shuffled(_chosen(families[name], self.tasks), rng) for name in _shuffled(families, rng)}
        limit, given = min(self.per_document, self.rows - session.kept), 0
        while given < limit and any(queues.values()):
            for name, queue in queues.items():
                outcome = None
                while queue and outcome is None and given < limit:
                    outcome = self._row(session, name, queue[0], families[name].tasks[queue.pop(0)], record)
                if outcome is not None:
                    given += 1
                    yield outcome
        if not given:
            text = str(record["text"])[:SHOWN]
            yield Dropped("no_question", "families", text, self.lineage(session, {}), parents=[record])

    def _row(self, session: Session, family: str, name: str, task: FamilyTask, record: Record) -> Outcome | None:
        """Return the row of a task, None where the document gives no question; one that is not confirmed is dropped."""
        rng = session.random(family, name, record["id"])
        item = task.make(str(record["text"]), rng, self.longest)
        if item is None:
            return None
        template = rng.choice(self._templates(task))
        question = task.templates[template].format_map(item.fields)
        about = {"family": family, "task": name, "template": template, "document": record["id"]}
        lineage = self.lineage(session, {}, **about)
        if not task.verify(item.fields, item.answer):
            return Dropped("not_confirmed", family, f"{question}\n{item.answer}", lineage, parents=[record])
        made = self.written(question, item, task, family, rng)
        if made is None:
            return Dropped("no_wrong_answer", family, f"{question}\n{item.answer}", lineage, parents=[record])
        row, more = made
        return Kept(row, {**lineage, **more}, parents=[record])

    def written(
        self, question: str, item: Item, task: FamilyTask, family: str, rng: random.Random
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return the row of a question whose answer is confirmed, and what else its lineage says; None for no row."""
        return conversation_row([message("user", question), message("assistant", item.answer)], family), {}

    def _templates(self, task: FamilyTask) -> Sequence[int]:
        if isinstance(self.templates, list):
            return self.templates
        return range(len(task.templates) if self.templates is None else self.templates)


def _chosen(family: Family, names: list[str] | None) -> dict[str, FamilyTask]:
    return {name: task for name, task in family.tasks.items() if names is None or name in names}


def _shuffled(names: Iterable[str], rng: random.Random) -> list[str]:
    ordered = sorted(names)
    return rng.sample(ordered, len(ordered))
