"""Instructions out of an aligned model that is given nothing but the opening of a user's turn (Magpie, Xu et al. 2024).

Against the original's faults: every draw has its own recorded seed; pairs are kept by judged quality and novelty, and
no longer the longest answers are taken; a cap per category keeps the easy and frequent ones from filling the set.
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
from windtunnel.generators.judging.ratings import json_object
from windtunnel.generators.text.novelty import NearDuplicateGate
from windtunnel.generators.text.quoted import defused, mark

QUALITY = ("very poor", "poor", "average", "good", "excellent")
DIFFICULTY = ("very easy", "easy", "medium", "hard", "very hard")
CATEGORIES = (
    "information", "reasoning", "planning", "editing", "coding", "mathematics", "role play", "data analysis",
    "creative writing", "advice", "brainstorming", "other",
)  # fmt: skip
FEWEST_CHARACTERS = 8


class Magpie(Generator):
    """Magpie on one chat model that completes raw text.

    `pre_query` is the model's chat template up to the user's words, `stop` what ends a turn (ChatML by default).
    `tagger` (None: no tags) judges quality, difficulty and category; `qualities` pass. `per_category` is the largest
    share of the rows that one category may have. Answers are greedy.
    """

    version: ClassVar[int] = 2
    primary: ClassVar[str | None] = "model"
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
    draws_per_row: int = Field(8, gt=0)  # bound: so many draws per row wanted
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    instruction_tokens: int = Field(512, gt=0)
    max_tokens: int = Field(2048, gt=0)

    def models(self) -> tuple[str, ...]:
        """Return the models that ask, tag and answer."""
        names = [self.model, self.answer_model or self.model, *([self.tagger] if self.tagger else [])]
        return tuple(dict.fromkeys(names))

    def generate(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per drawn instruction; gates decide in the order of the draws."""
        share = session.share.of(self.rows)
        gate, kept, categories = NearDuplicateGate(self.near_duplicate), [0], Counter[str]()
        most = math.ceil(self.per_category * len(share)) if self.tagger else len(share)
        numbers = range(share.start * self.draws_per_row, share.stop * self.draws_per_row)
        draws = (self._draw(session, number) for number in numbers)
        for category, outcome in session.drive(draws, wanted=lambda: len(share) - kept[0]):
            if isinstance(outcome, Kept):
                instruction = outcome.row["messages"][0]["content"]
                near = gate.find(instruction)
                reason = "near_duplicate" if near else "category_full" if categories[category] >= most else None
                if reason is not None:
                    yield Dropped(reason, "gate", instruction, {"near": near and near.index, "category": category})
                    continue
                gate.add(instruction)
                categories[category] += 1
                kept[0] += 1
            yield outcome
        session.journal["stopped_by_rows" if kept[0] >= len(share) else "stopped_by_draws"] += 1

    def _draw(self, session: Session, number: int) -> Chain[tuple[str, Outcome]]:
        """Draw an instruction, have it judged, answer it; return its category beside the outcome."""
        (drawn,) = yield [
            session.ask(
                "instruction", number, self.pre_query, model=self.model, stop=self.stop,
                temperature=self.temperature, top_p=self.top_p, max_tokens=self.instruction_tokens,
            )
        ]  # fmt: skip
        text, heard = drawn.text.strip(), {"instruction": drawn}
        about: dict[str, Any] = {"draw": number, "draw_seed": session.number("request", number, "instruction")}
        reason = _unfit(drawn)
        if reason is None and self.tagger is not None:
            (heard["tags"],) = yield [self._tag(session, number, text)]
            tags = _tags(heard["tags"])
            about["tags"] = tags
            reason = "no_tags" if tags is None else None if tags["quality"] in self.qualities else "low_quality"
        if reason is None:
            (heard["answer"],) = yield [
                session.ask(
                    "answer", number, [message("user", text)], model=self.answer_model or self.model,
                    temperature=0.0, max_tokens=self.max_tokens, seed=None,
                )
            ]  # fmt: skip
            reason = "truncated" if heard["answer"].finish_reason == "length" else None
        lineage = self.lineage(session, heard, **about)
        broken = next((c for name, c in heard.items() if not c.ok and (name != "tags" or c.error == REFUSED)), None)
        if broken is not None:
            return "", Failed(str(broken.error), "draw", broken.detail, lineage)
        if reason is not None:
            return "", Dropped(reason, "draw", text, lineage)
        chat = [message("user", text), message("assistant", heard["answer"].text.strip())]
        category = (about.get("tags") or {}).get("category", "")
        return category, Kept(conversation_row(chat, session.kind, lineage))

    def _tag(self, session: Session, number: int, text: str) -> Ask:
        prompt = load("magpie/tags").render(instruction=defused(text), categories=CATEGORIES, mark=mark([text]))
        fields = {"quality": QUALITY, "difficulty": DIFFICULTY, "category": CATEGORIES}
        schema = {
            "type": "object",
            "properties": {name: {"enum": list(values)} for name, values in fields.items()},
            "required": list(fields),
            "additionalProperties": False,
        }
        params: dict[str, Any] = {"temperature": 0.0, "max_tokens": 64, "seed": None}
        return session.ask("tags", number, [message("user", prompt)], model=self.tagger, schema=schema, **params)


def _unfit(drawn: Completion) -> str | None:
    text = drawn.text.strip()
    if drawn.finish_reason == "length":
        return "truncated"
    if len(text) < FEWEST_CHARACTERS:
        return "too_short"
    return "ends_with_colon" if text.endswith(":") else None


def _tags(reply: Completion) -> dict[str, str] | None:
    found = json_object(reply.text)
    known = (
        found.get("quality") in QUALITY
        and found.get("difficulty") in DIFFICULTY
        and found.get("category") in CATEGORIES
    )
    return {name: found[name] for name in ("quality", "difficulty", "category")} if known else None
