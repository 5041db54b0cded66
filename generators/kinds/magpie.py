"""Instructions drawn from an aligned model that sees only the opening of a user's turn (Magpie, Xu et al. 2024).

Unlike in the original, every draw has its own recorded seed, rows are selected by judged quality and novelty instead of
by length, and a cap per category bounds the easy and frequent ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from windtunnel.generators.client.completion import REFUSED, Completion
from windtunnel.generators.core.generator import Ask, Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.judging import ratings
from windtunnel.generators.text.novelty import NearDuplicateGate
from windtunnel.generators.text.quoted import mark

QUALITY = ("very poor", "poor", "average", "good", "excellent")
DIFFICULTY = ("very easy", "easy", "medium", "hard", "very hard")
CATEGORIES = (
    "information", "reasoning", "planning", "editing", "coding", "mathematics", "role play", "data analysis",
    "creative writing", "advice", "brainstorming", "other",
)  # fmt: skip
FEWEST_CHARACTERS = 8


class Magpie(Generator):
    """Magpie on one chat model that completes raw text.

    `pre_query` is the model's chat template up to the user's text, `stop` the end of a turn (ChatML by default).
    `tagger` (None: no tags) judges quality, difficulty and category; rows of `qualities` pass. `per_category` is the
    largest share of the rows that one category may have. Answers are greedy.
    """

    version: ClassVar[int] = 3
    primary: ClassVar[str | None] = "model"
    asks: ClassVar[tuple[str, ...]] = ("model", "answer_model", "tagger")
    prompts: ClassVar[tuple[str, ...]] = ("magpie/tags",)
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"model": "m", "rows": 1, "tagger": "j"},
            replies={
                "instruction": ["Which steps does it take to:", "Which river has the widest delta?"],
                "tags": ['{"quality": "good", "difficulty": "easy", "category": "information"}'],
                "answer": ["The Ganges."],
            },
            kept=[["Which river has the widest delta?", "The Ganges."]],
            dropped={"ends_with_colon": 1},
        ),
    )

    model: str
    answer_model: str | None = None
    tagger: str | None = None
    pre_query: str = "<|im_start|>user\n"
    stop: tuple[str, ...] = ("<|im_end|>", "\n")
    qualities: tuple[str, ...] = ("good", "excellent")
    per_category: float = Field(0.5, gt=0, le=1)
    near_duplicate: float = Field(0.7, gt=0, le=1)
    draws_per_row: int = Field(8, gt=0)  # bound on the draws per row wanted
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    instruction_tokens: int = Field(512, gt=0)
    max_tokens: int = Field(2048, gt=0)

    def outcomes(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per drawn instruction; the gates decide in the order of the draws."""
        share = session.share.of(self.rows)
        gate, categories = NearDuplicateGate(self.near_duplicate), Counter[str]()
        most = math.ceil(self.per_category * len(share)) if self.tagger else len(share)
        numbers = range(share.start * self.draws_per_row, share.stop * self.draws_per_row)
        draws = (self._draw(session, number) for number in numbers)
        for category, outcome in session.drive(draws, missing=lambda: len(share) - session.kept):
            if isinstance(outcome, Kept):
                instruction = outcome.row["messages"][0]["content"]
                near = gate.find(instruction)
                reason = "near_duplicate" if near else "category_full" if categories[category] >= most else None
                if reason is not None:
                    about = {"near": near and near.index, "category": category}
                    yield outcome.refused(reason, "gate", instruction, about)
                    continue
                gate.add(instruction)
                categories[category] += 1
            yield outcome
        session.journal["stopped_by_rows" if session.kept >= len(share) else "stopped_by_draws"] += 1

    def _draw(self, session: Session, number: int) -> Chain[tuple[str, Outcome]]:
        """Draw an instruction, tag it and answer it; return (category, outcome)."""
        params = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.instruction_tokens}
        (drawn,) = yield [
            session.ask("instruction", number, self.pre_query, model=self.model, stop=self.stop, **params)
        ]
        text, replies = drawn.text.strip(), {"instruction": drawn}
        about: dict[str, Any] = {"draw": number, "draw_seed": session.number("request", number, "instruction")}
        reason = _unfit(drawn)
        if reason is None and self.tagger is not None:
            (replies["tags"],) = yield [self._tag(session, number, text)]
            tags = _tags(replies["tags"])
            about["tags"] = tags
            reason = "no_tags" if tags is None else None if tags["quality"] in self.qualities else "low_quality"
        if reason is None:
            model = self.answer_model or self.model
            (reply,) = yield [session.greedy("answer", number, text, model=model, max_tokens=self.max_tokens)]
            replies["answer"] = reply
            reason = "truncated" if reply.truncated else None
        lineage = self.lineage(session, replies, **about)
        broken = next((c for name, c in replies.items() if not c.ok and (name != "tags" or c.error == REFUSED)), None)
        if broken is not None:
            return "", Failed.of(broken, "draw", lineage)
        if reason is not None:
            return "", Dropped(reason, "draw", text, lineage)
        chat = [message("user", text), message("assistant", replies["answer"].text.strip())]
        category = (about.get("tags") or {}).get("category", "")
        return category, Kept(conversation_row(chat, session.kind), lineage)

    def _tag(self, session: Session, number: int, text: str) -> Ask:
        prompt = load("magpie/tags").render(instruction=session.defused(text), categories=CATEGORIES, mark=mark([text]))
        fields = {"quality": QUALITY, "difficulty": DIFFICULTY, "category": CATEGORIES}
        schema = ratings.object_schema({name: {"enum": list(values)} for name, values in fields.items()})
        return session.greedy("tags", number, prompt, model=self.tagger, schema=schema, max_tokens=64)


def _unfit(drawn: Completion) -> str | None:
    text = drawn.text.strip()
    if drawn.truncated:
        return "truncated"
    if len(text) < FEWEST_CHARACTERS:
        return "too_short"
    return "ends_with_colon" if text.endswith(":") else None


def _tags(reply: Completion) -> dict[str, str] | None:
    tags = ratings.json_object(reply.text)
    known = {"quality": QUALITY, "difficulty": DIFFICULTY, "category": CATEGORIES}
    return {name: tags[name] for name in known} if all(tags.get(name) in known[name] for name in known) else None
