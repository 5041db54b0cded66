"""Preference trees over several turns with answers that can be checked, after UltraInteract (Yuan et al. 2024).

At each turn a right and a wrong action make a pair; the right one ends the branch, the wrong one goes on with what the
environment observes and a critic says. Right and wrong actions come from one model, so that no difference of style
between two models can pass for the difference between right and wrong; and a critique that gives the answer away is
left out. The environment is the comparison with the known answer: text of a model is never run as code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.generator import Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.material import Table
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import message, preference_row
from windtunnel.generators.core.session import Session
from windtunnel.generators.text.gold import agrees, final_answer
from windtunnel.generators.text.questions import Question, question
from windtunnel.generators.text.quoted import defused, mark
from windtunnel.schemas.records import PREFERENCE


class UltraInteract(Generator):
    """Grows one tree per question of the input `prompts`, whose rows hold the known answer as the assistant's turn.

    At each of at most `turns` turns `samples` actions are drawn. `critic` (None: no critique) sees the known answer.
    A question that all samples solve at once is dropped as `solved`: nothing is to be learned from it.
    """

    version: ClassVar[int] = 2
    primary: ClassVar[str | None] = "model"
    output: ClassVar[pa.Schema] = PREFERENCE
    reads: ClassVar[tuple[str, ...]] = ("prompts",)
    prompts: ClassVar[tuple[str, ...]] = ("ultrainteract/act", "ultrainteract/critique", "ultrainteract/observation")
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"model": "m", "samples": 2, "turns": 2},
            inputs={
                "prompts": [
                    {
                        "id": "p",
                        "messages": [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "5"}],
                    }
                ]
            },
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

    def models(self) -> tuple[str, ...]:
        """Return the actor and the critic."""
        return tuple(dict.fromkeys([self.model, *([self.critic] if self.critic else [])]))

    def total(self, inputs: Mapping[str, Table]) -> int:
        """Return the number of questions to take."""
        return min(self.rows, len(inputs["prompts"]))

    def generate(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per turn of a tree."""
        table = session.inputs["prompts"]
        numbers = session.share.of(self.total(session.inputs))
        chains = (self._tree(session, n, row) for n, row in zip(numbers, table.rows(numbers), strict=True))
        for found in session.drive(chains):
            yield from found

    def _tree(self, session: Session, number: int, row: Mapping[str, Any]) -> Chain[Sequence[Outcome]]:
        asked = question(row)
        root = {"prompt": row.get("id")}
        if asked is None or not asked.reference:
            return [Dropped("no_prompt" if asked is None else "no_known_answer", "prompt", "", root)]
        history = [*asked.messages[:-1], message("user", load("ultrainteract/act").render(instruction=asked.text))]
        outcomes: list[Outcome] = []
        for turn in range(self.turns):
            replies = yield self._act(session, number * self.turns + turn, history)
            right, wrong = self._sorted(replies, asked.reference)
            facts = {"turn": turn, "right": len(right), "wrong": len(wrong)}
            facts |= {"licence": asked.licence, "group": asked.group}
            lineage = self.lineage(session, {"act": replies[0]}, **root, **facts)
            outcome, following = self._turn(
                session, number * self.turns + turn, history, right, wrong, replies, lineage
            )
            outcomes.append(outcome)
            if following is None or turn + 1 == self.turns:
                break
            said = yield from self._observed(session, number * self.turns + turn, asked, following)
            history = [*history, message("assistant", following), message("user", said)]
        return outcomes

    def _act(self, session: Session, number: int, history: Sequence[Mapping[str, str]]) -> list[Any]:
        params = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return [session.ask("act", number, history, model=self.model, draw=k, **params) for k in range(self.samples)]

    def _sorted(self, replies: Sequence[Completion], gold: str) -> tuple[list[str], list[str]]:
        """Return (right actions, wrong actions), each text once; cut replies are neither."""
        texts = dict.fromkeys(
            r.text.strip() for r in replies if r.ok and r.finish_reason != "length" and r.text.strip()
        )
        right = [text for text in texts if agrees(final_answer(text), gold)]
        return right, [text for text in texts if text not in right]

    def _turn(
        self,
        session: Session,
        number: int,
        history: Sequence[Mapping[str, str]],
        right: Sequence[str],
        wrong: Sequence[str],
        replies: Sequence[Completion],
        lineage: dict[str, Any],
    ) -> tuple[Outcome, str | None]:
        """Return the outcome of a turn and the wrong action from which the tree grows on, if it does."""
        rng = session.random("turn", number)
        if right and wrong:
            chosen, rejected = rng.choice(right), rng.choice(wrong)
            lineage = lineage | {"answers": [final_answer(chosen), final_answer(rejected)]}
            row = preference_row(history, chosen, rejected, (1.0, 0.0), "known_answer", session.kind, lineage)
            return Kept(row), rejected
        raw = "\n\n".join([*right, *wrong])
        if wrong:
            return Dropped("no_right_action", "act", raw, lineage), rng.choice(wrong)
        if right:
            return Dropped("solved", "act", raw, lineage), None
        broken = next((r for r in replies if not r.ok), None)
        if broken is not None:
            return Failed(str(broken.error), "act", broken.detail, lineage), None
        return Dropped("truncated", "act", raw, lineage), None

    def _observed(self, session: Session, number: int, asked: Question, action: str) -> Chain[str]:
        """Return what the environment says to a wrong action; the critic's words go in unless they tell the answer."""
        gold, critique = str(asked.reference), ""
        if self.critic is not None:
            shown = {"instruction": defused(asked.text), "solution": defused(action), "gold": gold}
            prompt = load("ultrainteract/critique").render(mark=mark([asked.text, action, gold]), **shown)
            params: dict[str, Any] = {"temperature": 0.0, "max_tokens": self.critique_tokens, "seed": None}
            (reply,) = yield [session.ask("critique", number, [message("user", prompt)], model=self.critic, **params)]
            critique = reply.text.strip() if reply.ok and reply.finish_reason != "length" else ""
            if re.search(rf"(?<!\w){re.escape(gold.strip())}(?!\w)", critique, re.IGNORECASE):
                session.journal["critiques_that_tell"] += 1
                critique = ""
        return load("ultrainteract/observation").render(answer=final_answer(action), critique=critique)
