"""The best of n answers and the worst, by a judge's mean score: rejection sampling that also keeps the rejected.

A score is the mean over several readings of one answer at a time, so position and neighbours have no effect. The
expected divergence from the model, log n - (n - 1) / n nats, is part of the lineage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from windtunnel.generators.client.completion import refusal
from windtunnel.generators.core.generator import Ask, Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import dialogue, preference_row
from windtunnel.generators.core.session import Session
from windtunnel.generators.judging import ratings
from windtunnel.generators.text.questions import Question, question
from windtunnel.generators.text.quoted import mark
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.records import PREFERENCE

TOP = 10


class BestOfN(Generator):
    """Draws `n` answers of `model` to every question of the input `prompts` and pairs the best with the worst.

    Every answer is scored `readings` times; `margin` is in points of the mean score (1 to 10). `with_reference` adds
    the answer that the row holds.
    """

    version: ClassVar[int] = 5
    primary: ClassVar[str | None] = "model"
    asks: ClassVar[tuple[str, ...]] = ("model", "judge")
    output: ClassVar[pa.Schema] = PREFERENCE
    reads: ClassVar[tuple[str, ...]] = ("prompts",)
    prompts: ClassVar[tuple[str, ...]] = ("ultrafeedback/critique",)
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"model": "m", "judge": "j", "n": 3, "readings": 1},
            inputs={"prompts": [dialogue("Name a river.")]},
            replies={
                "answer": ["A hill.", "The Nile.", "Water."],
                "score": [f'{{"feedback": "", "score": {n}}}' for n in (1, 9, 4)],
            },
            kept=[["Name a river.", "The Nile.", "A hill."]],
        ),
    )

    model: str
    judge: str
    n: int = Field(4, ge=2)
    readings: int = Field(2, gt=0)
    margin: float = Field(1.0, gt=0)
    with_reference: bool = False
    temperature: float = Field(0.8, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(1024, gt=0)
    judge_tokens: int = Field(512, gt=0)
    feedback_characters: int = Field(400, gt=0)

    def requests_per_row(self) -> Sequence[tuple[str, float]]:
        """Return all answers, and all readings of each."""
        return [(self.model, float(self.n)), (self.judge, float(self.n * self.readings))]

    def attempt(self, session: Session, number: int, record: Record) -> Chain[Outcome]:
        """Answer a question, score the answers and pair them."""
        asked = question(record)
        if asked is None:
            return Dropped("no_prompt", "prompt", "", {"prompt": record.get("id")})
        replies = yield [
            session.ask("answer", number, asked.messages, model=self.model, draw=draw, **self.sampling)
            for draw in range(self.n)
        ]
        whole = [r.text.strip() for r in replies if r.ok and not r.truncated]
        about = {"prompt": record.get("id"), "n": self.n, "self_judged": self.judge == self.model}
        lineage = self.lineage(session, {"answer": replies[0]}, **about, nats=math.log(self.n) - (self.n - 1) / self.n)
        texts = list(dict.fromkeys(whole + ([asked.reference] if self.with_reference and asked.reference else [])))
        if not whole and (broken := next((r for r in replies if not r.ok), None)) is not None:
            return Failed.of(broken, "answer", lineage)
        if len(texts) < 2:
            return Dropped("all_alike" if texts else "truncated", "answer", "\n".join(texts), lineage)
        asks = [self._score(session, number, asked, text, k) for k, text in enumerate(texts)]
        readings = yield [ask for each in asks for ask in each]
        if (refused := refusal(readings)) is not None:
            return Failed.of(refused, "score", lineage)
        read = [ratings.read_critique(reply, TOP) for reply in readings]
        scores = [ratings.mean(read[k * self.readings : (k + 1) * self.readings]) for k in range(len(texts))]
        return self._paired(session, asked, texts, scores, lineage)

    def _score(self, session: Session, number: int, asked: Question, text: str, k: int) -> list[Ask]:
        shown = {"instruction": session.defused(asked.text), "answer": session.defused(text), "reference": None}
        prompt = load("ultrafeedback/critique").render(mark=mark([asked.text, text]), **shown)
        schema = ratings.schema_of_critique(TOP, self.feedback_characters)
        params: dict[str, Any] = {"model": self.judge, "schema": schema, "max_tokens": self.judge_tokens}
        first = k * self.readings
        return [
            session.chat("score", number, prompt, draw=first + turn, temperature=0.7 * (turn > 0), **params)
            for turn in range(self.readings)
        ]

    def _paired(
        self, session: Session, asked: Question, texts: Sequence[str], scores: Sequence[float | None],
        lineage: Mapping[str, Any],
    ) -> Outcome:  # fmt: skip
        lineage = {**lineage, "scores": scores}
        ranked = sorted(((s, -k) for k, s in enumerate(scores) if s is not None), reverse=True)
        if len(ranked) < 2:
            return Dropped("unrated", "pair", canonical_json(list(texts)), lineage)
        (high, best), (low, worst) = ranked[0], ranked[-1]
        if high - low < self.margin:
            reason = "below_margin" if high > low else "tie"
            return Dropped(reason, "pair", canonical_json(list(texts)), lineage)
        chosen, rejected = texts[-best], texts[-worst]
        return Kept(preference_row(asked.messages, chosen, rejected, (high, low), self.judge, session.kind), lineage)
