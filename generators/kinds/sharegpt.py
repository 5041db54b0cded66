"""Cleans exported conversations of people, after Vicuna's ShareGPT pipeline (Chiang et al. 2023).

Unlike the original, it has no word list that drops every mention of a company, it drops near-duplicates too, no part of
a split conversation is empty and the last round is kept. No model is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from windtunnel.generators.core.generator import Dropped, Example, Generator, Kept, Outcome
from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.rows import conversation_row, dialogue, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.text import turns
from windtunnel.generators.text.novelty import NearDuplicateGate

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant"}
FEWEST_CHARACTERS = 16
_TAGS = re.compile(r"</?(?:div|span)\b[^<>]*>", re.IGNORECASE)
_REGENERATED = re.compile(r"^\s*\d+ / \d+\s*$\n?", re.MULTILINE)
_COPY = re.compile(r"^(?:Copy code|\d+ chars?/?\s*\d* words?)\s*$\n?", re.MULTILINE | re.IGNORECASE)
_SERVICE = re.compile(
    r"too many requests in \d+ hour|please try again later|network error|an error occurred\. if this issue persists",
    re.IGNORECASE,
)
SERVICE_CHARACTERS = 300  # a longer answer with such words is about them


class ShareGPT(Generator):
    """Cleans the rows of the input `conversations`; at most `rows` are read.

    `near_duplicate` compares first question and first answer; `characters_at_most` splits between rounds. `blocked` are
    regular expressions that drop a conversation; none by default.
    """

    version: ClassVar[int] = 3
    asks: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ("conversations",)
    sequential: ClassVar[bool] = True
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={},
            inputs={
                "conversations": [
                    dialogue("Hi!", "Why is it <span>foggy</span>?", "2 / 2\nIt is cold.", "?", roles=("gpt", "human")),
                    dialogue("Why is it foggy?", "It is cold."),
                    dialogue("Why is it so?", "Well?", "It is so.", roles=("human", "human", "gpt")),
                ]
            },
            replies={},
            kept=[["Why is it foggy?", "It is cold."]],
            dropped={"near_duplicate": 1, "roles_do_not_alternate": 1},
        ),
    )

    rows: int = Field(1_000_000, gt=0)
    near_duplicate: float = Field(0.9, gt=0, le=1)
    characters_at_most: int | None = Field(None, gt=0)
    blocked: tuple[str, ...] = ()

    def outcomes(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per conversation, or one per part where it is split."""
        gate = NearDuplicateGate(self.near_duplicate)
        for _, record in session.records("conversations", self.total(session.inputs)):
            messages, reason = self._cleaned(record)
            raw = "\n".join(f"{m['role']}: {m['content']}" for m in record.get("messages") or ())
            head = "\n".join(m["content"] for m in messages[:2])
            if reason is None and gate.find(head) is not None:
                reason = "near_duplicate"
            about = {"kind": session.kind, "version": self.version, "parents": [record.get("id")]}
            about["parent"] = record.get("lineage")
            cleaned = record.rewritten(messages)  # the group is that of the question with the usual roles
            if reason is not None:
                yield Dropped(reason, "clean", raw, about, parents=[cleaned])
                continue
            gate.add(head)
            yield from self._parts(cleaned, str(record.get("source") or session.kind), about)

    def _cleaned(self, row: Mapping[str, Any]) -> tuple[list[dict[str, str]], str | None]:
        """Return (messages, None) or (the messages so far, the reason to drop them)."""
        known = (m for m in row.get("messages") or () if m["role"] != "system")
        exported = [(ROLES.get(m["role"], ""), m["content"]) for m in known]
        messages = [message(r, _text(text) if r == "assistant" else _TAGS.sub("", text)) for r, text in exported]
        while messages and messages[0]["role"] != "user":
            messages.pop(0)
        blank = (i for i, m in enumerate(messages) if m["role"] == "assistant" and not m["content"].strip())
        messages = messages[: next(blank, len(messages))]
        while messages and messages[-1]["role"] == "user":
            messages.pop()
        return messages, self._reason(messages)

    def _reason(self, messages: Sequence[Mapping[str, str]]) -> str | None:
        if len(messages) < 2:
            return "too_few_turns"
        if any(m["role"] != ("user", "assistant")[i % 2] for i, m in enumerate(messages)):
            return "roles_do_not_alternate"
        if sum(len(m["content"]) for m in messages) < FEWEST_CHARACTERS:
            return "too_short"
        answers = [m["content"] for m in messages[1::2]]
        if any(len(a) < SERVICE_CHARACTERS and _SERVICE.search(a) for a in answers):
            return "service_message"
        if any(re.search(p, m["content"], re.IGNORECASE) for p in self.blocked for m in messages):
            return "blocked"
        return None

    def _parts(self, record: Record, source: str, about: dict[str, Any]) -> Iterator[Outcome]:
        limit, messages = self.characters_at_most, record["messages"]
        for nth, part in enumerate(turns.split_rounds(messages, limit) if limit else [messages]):
            lineage = about | {"part": nth}
            if limit and sum(len(m["content"]) for m in part) > limit:
                yield Dropped("round_too_long", "split", part[0]["content"], lineage, parents=[record])
            else:
                yield Kept(conversation_row(part, source), lineage, parents=[record])


def _text(answer: str) -> str:
    """Return an answer without the markup of the page it was exported from."""
    return _COPY.sub("", _REGENERATED.sub("", _TAGS.sub("", answer))).strip()
