"""Preference trees over several turns with answers that can be checked, after UltraInteract (Yuan et al. 2024).

At each turn a correct and an incorrect action make a pair. The correct one ends the branch; the incorrect one is
continued with an observation and a critique. Both come from one model, so that the pair does not reflect a difference
of style between models. A critique that contains the answer is left out. The observation is a comparison with the known
answer: text of a model is never run as code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.generator import Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import dialogue, message, preference_row
from windtunnel.generators.core.session import Session
from windtunnel.generators.text.gold import agrees, final_answer, known_answer
from windtunnel.generators.text.questions import Question, question
from windtunnel.generators.text.quoted import mark
from windtunnel.schemas.records import PREFERENCE


class UltraInteract(Generator):
    """Grows one tree per question of the input `prompts`, whose rows hold the known answer as the assistant's turn.

    Each of at most `turns` turns draws `samples` actions. `critic` (None: no critique) sees the known answer. A
    question that all samples solve in the first turn is dropped as `solved`.
    """

    version: ClassVar[int] = 4
    primary: ClassVar[str | None] = "model"
    asks: ClassVar[tuple[str, ...]] = ("model", "critic")
    output: ClassVar[pa.Schema] = PREFERENCE
    reads: ClassVar[tuple[str, ...]] = ("prompts",)
    prompts: ClassVar[tuple[str, ...]] = ("ultrainteract/act", "ultrainteract/critique", "ultrainteract/observation")
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"model": "m", "samples": 2, "turns": 2},
            inputs={"prompts": [dialogue("2 + 3?", "5")]},
            replies={"act": ["Step 1: add.\nAnswer: 5", "Step 1: guess.\nAnswer: 6", "Answer: 7", "Answer: 8"]},
            kept=[
                [
                    '2 + 3?\n\nSolve it in steps: write "Step 1:", "Step 2:" and so on, and put one thought or '
                    'calculation into each. End with a line that holds nothing but "Answer:" and the answer.',
                    "Step 1: add.\nAnswer: 5",
                    "Step 1: guess.\nAnswer: 6",
                ]
            ],
            dropped={"no_right_action": 1},
        ),
    )

    model: str
    critic: str | None = None
    turns: int = Field(5, gt=0)
    samples: int = Field(4, ge=2)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(768, gt=0)
    critique_tokens: int = Field(256, gt=0)

    def outcomes(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per turn of a tree, for the first `rows` questions."""
        records = session.records("prompts", self.total(session.inputs), spread=False)
        yield from session.each(records, lambda number, record: self.attempt(session, number, record))

    def attempt(self, session: Session, number: int, record: Record) -> Chain[Sequence[Outcome]]:
        """Grow the tree of one question."""
        asked = question(record)
        root = {"prompt": record.get("id")}
        if asked is None or not asked.reference:
            return [Dropped("no_prompt" if asked is None else "no_known_answer", "prompt", "", root)]
        history = [*asked.messages[:-1], message("user", load("ultrainteract/act").render(instruction=asked.text))]
        outcomes: list[Outcome] = []
        for turn in range(self.turns):
            place = number * self.turns + turn
            replies = yield [
                session.ask("act", place, history, model=self.model, draw=k, **self.sampling)
                for k in range(self.samples)
            ]
            right, wrong = self._sorted(replies, known_answer(str(asked.reference)))
            facts = {"turn": turn, "right": len(right), "wrong": len(wrong)}
            lineage = self.lineage(session, {"act": replies[0]}, **root, **facts)
            outcome, following = self._turn(session, place, history, right, wrong, replies, lineage)
            outcomes.append(outcome)
            if following is None or turn + 1 == self.turns:
                break
            observation = yield from self._observed(session, place, asked, following)
            history = [*history, message("assistant", following), message("user", observation)]
        return outcomes

    def _sorted(self, replies: Sequence[Completion], gold: str) -> tuple[list[str], list[str]]:
        """Return (correct actions, incorrect actions), each text once; truncated replies are neither."""
        texts = dict.fromkeys(r.text.strip() for r in replies if r.ok and not r.truncated and r.text.strip())
        right = [text for text in texts if agrees(final_answer(text), gold)]
        return right, [text for text in texts if text not in right]

    def _turn(
        self, session: Session, number: int, history: Sequence[Mapping[str, str]], right: Sequence[str],
        wrong: Sequence[str], replies: Sequence[Completion], lineage: dict[str, Any],
    ) -> tuple[Outcome, str | None]:  # fmt: skip
        """Return the outcome of a turn and the incorrect action to continue from, or None to stop."""
        rng = session.random("turn", number)
        if right and wrong:
            chosen, rejected = rng.choice(right), rng.choice(wrong)
            row = preference_row(history, chosen, rejected, (1.0, 0.0), "known_answer", session.kind)
            return Kept(row, lineage | {"answers": [final_answer(chosen), final_answer(rejected)]}), rejected
        raw = "\n\n".join([*right, *wrong])
        if wrong:
            return Dropped("no_right_action", "act", raw, lineage), rng.choice(wrong)
        if right:
            return Dropped("solved", "act", raw, lineage), None
        broken = next((r for r in replies if not r.ok), None)
        if broken is not None:
            return Failed.of(broken, "act", lineage), None
        return Dropped("truncated", "act", raw, lineage), None

    def _observed(self, session: Session, number: int, asked: Question, action: str) -> Chain[str]:
        """Return the observation for an incorrect action, with the critique unless that contains the answer."""
        gold, critique = known_answer(str(asked.reference)), ""
        if self.critic is not None:
            shown = {
                "instruction": session.defused(asked.text),
                "solution": session.defused(action),
                "gold": session.defused(gold),
            }
            prompt = load("ultrainteract/critique").render(mark=mark([asked.text, action, gold]), **shown)
            (reply,) = yield [
                session.greedy("critique", number, prompt, model=self.critic, max_tokens=self.critique_tokens)
            ]
            critique = reply.text.strip() if reply.ok and not reply.truncated else ""
            if re.search(rf"(?<!\w){re.escape(gold.strip())}(?!\w)", critique, re.IGNORECASE):
                session.journal["critiques_that_tell"] += 1
                critique = ""
        return load("ultrainteract/observation").render(answer=final_answer(action), critique=critique)
