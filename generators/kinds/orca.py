"""Explained answers under varied system messages, checked against known answers, after Orca (Mukherjee et al. 2023).

The original kept every explanation although its questions had known answers. Here an explanation with another final
answer is dropped. No source gives more than its share of the rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from windtunnel.generators.core.generator import Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import conversation_row, dialogue, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.text.gold import agrees, final_answer, known_answer
from windtunnel.generators.text.questions import question


class Orca(Generator):
    """Asks `model` each question of the input `prompts`, whose rows hold the known answer as the assistant's turn.

    With `verify`, up to `draws` answers are drawn until one agrees with the known answer; without it, every answer is
    kept. `per_source` is the largest share of `rows` that one source may have.
    """

    version: ClassVar[int] = 4
    primary: ClassVar[str | None] = "model"
    reads: ClassVar[tuple[str, ...]] = ("prompts",)
    sequential: ClassVar[bool] = True
    prompts: ClassVar[tuple[str, ...]] = ("orca/question", "orca/system")
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"model": "m", "draws": 2, "keep_system": False},
            inputs={"prompts": [dialogue("What is 2 + 3?", "5"), dialogue("What is 2 + 9?", "11")]},
            replies={
                "explain": ["Two and three.\nAnswer: 6", "Eleven.\nAnswer: 12", "Count on.\nAnswer: 5", "Answer: 13"]
            },
            kept=[["What is 2 + 3?", "Count on.\nAnswer: 5"]],
            dropped={"wrong_answer": 1},
        ),
    )

    model: str
    verify: bool = True
    draws: int = Field(1, gt=0)
    per_source: float = Field(1.0, gt=0, le=1)
    keep_system: bool = True  # the system message stays in the row
    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(1024, gt=0)

    def outcomes(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per question, in their order; a question beyond the share of its source is dropped."""
        most, taken = math.ceil(self.per_source * self.rows), Counter[str]()

        def attempt(number: int, record: Record) -> Chain[Outcome]:
            source = str(record.get("source", ""))
            taken[source] += 1
            if taken[source] > most:
                about = {"prompt": record.get("id"), "source": record.get("source")}
                return Dropped("source_full", "prompt", "", about)
            return (yield from self.attempt(session, number, record))

        yield from session.each(session.records("prompts"), attempt, missing=lambda: self.rows - session.kept)

    def attempt(self, session: Session, number: int, record: Record) -> Chain[Outcome]:
        """Draw explanations of a question until one agrees with the known answer."""
        asked = question(record)
        about: dict[str, Any] = {"prompt": record.get("id"), "prompt_source": record.get("source")}
        if asked is None or (self.verify and not asked.reference):
            return Dropped("no_prompt" if asked is None else "no_known_answer", "prompt", "", about)
        known = known_answer(str(asked.reference))
        variants = load("orca/system").variants()
        chosen = session.random("system", number).randrange(len(variants))
        text = load("orca/question").render(instruction=asked.text) if self.verify else asked.text
        chat = [message("system", variants[chosen]), message("user", text)]
        reason, lineage, explanation = "wrong_answer", {}, ""
        for draw in range(self.draws):
            (reply,) = yield [session.ask("explain", number, chat, model=self.model, draw=draw, **self.sampling)]
            facts = {"system": chosen, "draw": draw, "known_answer": asked.reference and known}
            lineage = self.lineage(session, {"explain": reply}, **about, **facts, answer=final_answer(reply.text))
            if not reply.ok:
                return Failed.of(reply, "explain", lineage)
            explanation = reply.text.strip()
            reason = "truncated" if reply.truncated else "wrong_answer"
            if not reply.truncated and (not self.verify or agrees(final_answer(explanation), known)):
                turns = [message("user", asked.text), message("assistant", explanation)]
                head = [chat[0]] if self.keep_system else []
                return Kept(conversation_row([*head, *turns], session.kind), lineage)
        return Dropped(reason, "explain", explanation, lineage)
