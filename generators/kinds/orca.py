"""Explained answers under varied system messages, checked against known answers, after Orca (Mukherjee et al. 2023).

The original trusted its teacher although its questions came with gold answers; here an explanation whose final answer
is not the known one costs the row. No source may give more than its share of the rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from windtunnel.generators.core.generator import Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.material import Table
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.text.gold import agrees, final_answer
from windtunnel.generators.text.questions import question


class Orca(Generator):
    """Asks `model` each question of the input `prompts`, whose rows hold the known answer as the assistant's turn.

    `verify` compares; without it, rows are kept as they come. `draws` answers are tried until one agrees.
    `per_source` is the largest share of `rows` that one source may have.
    """

    version: ClassVar[int] = 2
    primary: ClassVar[str | None] = "model"
    reads: ClassVar[tuple[str, ...]] = ("prompts",)
    sequential: ClassVar[bool] = True
    prompts: ClassVar[tuple[str, ...]] = ("orca/question", "orca/system")
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"model": "m", "draws": 2, "keep_system": False},
            inputs={
                "prompts": [
                    {
                        "id": "p",
                        "source": "sums",
                        "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}],
                    }
                    for q, a in (("What is 2 + 3?", "5"), ("What is 2 + 9?", "11"))
                ]
            },
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

    def models(self) -> tuple[str, ...]:
        """Return the one model."""
        return (self.model,)

    def generate(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per question taken, in their order; a question beyond its source's share is dropped."""
        table: Table = session.inputs["prompts"]
        most, taken, kept = math.ceil(self.per_source * self.rows), Counter[str](), [0]

        def chains() -> Iterator[Chain[Outcome]]:
            for number, row in enumerate(table.rows()):
                source = str(row.get("source", ""))
                taken[source] += 1
                yield self._beyond(row) if taken[source] > most else self._explain(session, number, row)

        for outcome in session.drive(chains(), wanted=lambda: self.rows - kept[0]):
            kept[0] += isinstance(outcome, Kept)
            yield outcome

    def _beyond(self, row: Mapping[str, Any]) -> Chain[Outcome]:
        return Dropped("source_full", "prompt", "", {"prompt": row.get("id"), "source": row.get("source")})
        yield

    def _explain(self, session: Session, number: int, row: Mapping[str, Any]) -> Chain[Outcome]:
        asked = question(row)
        about: dict[str, Any] = {"prompt": row.get("id"), "prompt_source": row.get("source")}
        if asked is None or (self.verify and not asked.reference):
            return Dropped("no_prompt" if asked is None else "no_known_answer", "prompt", "", about)
        variants = load("orca/system").variants()
        chosen = session.random("system", number).randrange(len(variants))
        text = load("orca/question").render(instruction=asked.text) if self.verify else asked.text
        chat = [message("system", variants[chosen]), message("user", text)]
        params = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        said = ""
        for draw in range(self.draws):
            (reply,) = yield [session.ask("explain", number, chat, model=self.model, draw=draw, **params)]
            facts = {"system": chosen, "draw": draw, "known_answer": asked.reference}
            facts |= {"licence": asked.licence, "group": asked.group}
            lineage = self.lineage(session, {"explain": reply}, **about, **facts, answer=final_answer(reply.text))
            if not reply.ok:
                return Failed(str(reply.error), "explain", reply.detail, lineage)
            said = reply.text.strip()
            if reply.finish_reason == "length":
                continue
            if not self.verify or agrees(final_answer(said), str(asked.reference)):
                turns = [message("user", asked.text), message("assistant", said)]
                head = [chat[0]] if self.keep_system else []
                return Kept(conversation_row([*head, *turns], session.kind, lineage))
        reason = "truncated" if reply.finish_reason == "length" else "wrong_answer"  # pyright: ignore[reportPossiblyUnbound]
        return Dropped(reason, "explain", said, lineage)  # pyright: ignore[reportPossiblyUnbound]
