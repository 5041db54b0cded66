"""Selects few good rows out of many by rules and by balance over sources, after LIMA (Zhou et al. 2023).

Selecting the longest answers, or random ones, are baselines (Zhao et al. 2024): they are settings of the same kind, so
that a recipe can compare the three. No model is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from windtunnel.generators.core.generator import Dropped, Example, Generator, Kept, Outcome
from windtunnel.generators.core.rows import dialogue, whole_row
from windtunnel.generators.core.session import Session
from windtunnel.generators.text.questions import question
from windtunnel.schemas.records import OWN_CONVERSATION
from windtunnel.schemas.turns import tools, turns

_FIRST_PERSON = re.compile(r"\b(?:I|I'm|I've|I'd|my|mine|me)\b")
_ELSEWHERE = re.compile(
    r"\b(?:other answers?|as mentioned|(?:answer|comment)s? (?:above|below)|stack ?exchange|stack ?overflow)\b",
    re.IGNORECASE,
)
_LINK = re.compile(r"https?://\S+|<(?:a|img)\b[^<>]*>|!?\[[^\[\]]*\]\([^)\n]{0,2000}\)", re.IGNORECASE)


class Lima(Generator):
    """Selects `rows` rows of the input `conversations`: their first round, or all `rounds` (under `select:`).

    `by`: `rules` (length of the answer, no first person, no reference to other answers, no links), then at random;
    `longest` or `random` of all. Sources share the rows in proportion to their size to the power 1 / `temperature`
    (3 as in the paper, which favours small sources). Memory: 25 bytes per row of the input.
    """

    version: ClassVar[int] = 3
    output: ClassVar[pa.Schema] = OWN_CONVERSATION
    primary: ClassVar[str | None] = "rows"
    asks: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ("conversations",)
    sequential: ClassVar[bool] = True
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"rows": 1, "fewest_characters": 10},
            inputs={
                "conversations": [
                    dialogue("Why?", answer)
                    for answer in ("Because.", "I think that it is cold.", "Cold air holds less water.")
                ]
            },
            replies={},
            kept=[["Why?", "Cold air holds less water."]],
            dropped={"too_short": 1, "first_person": 1},
        ),
    )

    rows: int = Field(1000, gt=0)
    rounds: Literal["first", "all"] = "first"
    by: Literal["rules", "longest", "random"] = "rules"
    temperature: float = Field(3.0, gt=0)
    fewest_characters: int = Field(1200, ge=0)
    most_characters: int = Field(4096, gt=0)

    def outcomes(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per row of the input: refused by a rule, not chosen, or kept."""
        sources: dict[str, int] = {}
        source = np.full(len(session.inputs["conversations"]), -1, np.int32)
        rank = np.zeros(len(source), np.int64)  # the lower, the sooner taken
        for number, record in session.records("conversations"):
            reason, answer = self._refused(record)
            if reason is not None:
                yield Dropped(reason, "rules", answer, {"parents": [record.get("id")]}, parents=[record])
                continue
            source[number] = sources.setdefault(str(record.get("source", "")), len(sources))
            rank[number] = -len(answer) if self.by == "longest" else session.number("rank", number)
        chosen = self._chosen(source, rank, len(sources))
        for number, record in session.records("conversations"):
            if source[number] < 0:
                continue
            asked = question(record)
            assert asked is not None and asked.reference is not None
            about = {"kind": session.kind, "version": self.version, "by": self.by, "parents": [record.get("id")]}
            about["parent"] = record.get("lineage")
            if number in chosen:
                whole = turns(record)
                chat = whole if self.rounds == "all" else whole[: len(asked.messages) + 1]
                row = whole_row(chat, str(record.get("source") or session.kind), tools(record), record.get("label"))
                yield Kept(row, about, parents=[record])
            else:
                yield Dropped("not_chosen", "choice", asked.reference, about, parents=[record])

    def _refused(self, row: Mapping[str, Any]) -> tuple[str | None, str]:
        """Return (reason or None, the answer)."""
        asked = question(row)
        if asked is None or not asked.reference or not asked.reference.strip():
            return "no_answer", ""
        answer = asked.reference
        if self.by != "rules":
            return None, answer
        if len(answer) < self.fewest_characters:
            return "too_short", answer
        if len(answer) > self.most_characters:
            return "too_long", answer
        for reason, pattern in (("first_person", _FIRST_PERSON), ("refers_elsewhere", _ELSEWHERE), ("links", _LINK)):
            if pattern.search(answer):
                return reason, answer
        return None, answer

    def _chosen(self, source: np.ndarray, rank: np.ndarray, count: int) -> set[int]:
        """Return row numbers: the share of each source, filled up from all sources where one has too few."""
        if count == 0:
            return set()
        sizes = np.bincount(source[source >= 0], minlength=count)
        weights = sizes ** (1 / self.temperature)
        quotas = np.minimum(sizes, np.floor(self.rows * weights / weights.sum())).astype(np.int64)
        order = np.lexsort((np.arange(len(rank)), rank))
        order = order[source[order] >= 0]
        picked = [row for one in range(count) for row in order[source[order] == one][: quotas[one]].tolist()]
        rest = order[~np.isin(order, picked)]
        return {*picked, *rest[: max(0, self.rows - len(picked))].tolist()}
