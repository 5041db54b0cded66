"""Asks a model for a question that a document answers.

In a recipe: `generate: {NAME: {with: {./new_part.py:NewPart: {model: MODEL}}, from: {documents: CORPUS}}}`
"""

from __future__ import annotations

from typing import ClassVar

from windtunnel.generators.core.generator import Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session

PROMPT = "Write one question that this text answers, and nothing else.\n\n{text}"


class NewPart(Generator):
    """One conversation a document: the model's question, and the document's text as the answer.

    `model` is one of the recipe's `models:`.
    """

    version: ClassVar[int] = 1  # raise it whenever the same answers give other rows
    reads: ClassVar[tuple[str, ...]] = ("documents",)  # the roles of `from:`

    # What the models answer, and the rows that come out: `windtunnel check generator ./new_part.py:NewPart` runs it.
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"model": "m", "rows": 2},
            inputs={"documents": [{"id": "a", "text": "Snow is white."}, {"id": "b", "text": "Ice is cold."}]},
            replies={"question": ["What is snow like?", "I cannot."]},
            kept=[["What is snow like?", "Snow is white."]],
            dropped={"no_question": 1},
        ),
    )

    model: str

    def attempt(self, session: Session, number: int, record: Record) -> Chain[Outcome]:
        """Ask once; what is yielded is asked, and what is returned is the outcome of this document."""
        text = record["text"]
        ask = session.ask("question", number, [message("user", PROMPT.format(text=text))], model=self.model)
        (reply,) = yield [ask]
        lineage = self.lineage(session, {"question": reply}, parents=[record["id"]])
        if not reply.ok:
            return Failed.of(reply, "question", lineage)
        if not reply.text.strip().endswith("?"):
            return Dropped("no_question", "question", reply.text, lineage)
        chat = [message("user", reply.text.strip()), message("assistant", text)]
        return Kept(conversation_row(chat, session.kind), lineage)
