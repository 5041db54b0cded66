"""Cleans exported conversations of people, after Vicuna's ShareGPT pipeline (Chiang et al. 2023).

Unlike the original, it has no word list that drops every mention of a company, it drops near-duplicates too, no part of
a split conversation is empty and the last round is kept. The first system turn, tool calls and their results, and
reasoning stay. No model is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from windtunnel.generators.core.cleaner import Cleaned, Cleaner
from windtunnel.generators.core.generator import Dropped, Example, Kept, Outcome
from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.rows import dialogue, whole_row
from windtunnel.generators.core.session import Session
from windtunnel.generators.text import turns
from windtunnel.generators.text.novelty import NearDuplicateGate
from windtunnel.schemas.records import OWN_CONVERSATION
from windtunnel.schemas.turns import tools
from windtunnel.schemas.turns import turns as turns_of

ROLES = {
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "chatgpt": "assistant", "tool": "tool",
}  # fmt: skip
FOLLOWS = {"": ("user",), "user": ("assistant",), "assistant": ("user", "tool"), "tool": ("assistant", "tool")}
LONG = "round_too_long"
FEWEST_CHARACTERS = 16
_TAGS = re.compile(r"</?(?:div|span)\b[^<>]*>", re.IGNORECASE)
_REGENERATED = re.compile(r"^[^\S\n]*\d+ / \d+[^\S\n]*$\n?", re.MULTILINE)
_COPY = re.compile(r"^(?:Copy code|\d+ chars?/?\s*\d* words?)\s*$\n?", re.MULTILINE | re.IGNORECASE)
_SERVICE = re.compile(
    r"too many requests in \d+ hour|please try again later|network error|an error occurred\. if this issue persists",
    re.IGNORECASE,
)
SERVICE_CHARACTERS = 300  # a longer answer with such words is about them


class ShareGPT(Cleaner):
    """Cleans the rows of the input `conversations`; at most `rows` are read.

    `near_duplicate` compares first question and first answer, null leaves that out; `characters_at_most` splits between
    rounds. `blocked` are regular expressions that drop a conversation; none by default. As `clean:` of `rows:`, it does
    not look for near-duplicates unless the parameter is given: that is what `dedup:` is for.
    """

    version: ClassVar[int] = 5
    output: ClassVar[pa.Schema] = OWN_CONVERSATION
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
    near_duplicate: float | None = Field(0.9, gt=0, le=1)
    characters_at_most: int | None = Field(None, gt=0)
    blocked: tuple[str, ...] = ()

    @property
    def alone(self) -> bool:
        return self.near_duplicate is None

    def outcomes(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per conversation, or one per part where it is split."""
        gate = NearDuplicateGate(self.near_duplicate) if self.near_duplicate else None
        for _, record in session.records("conversations", self.total(session.inputs)):
            whole = turns_of(record)
            parts, reason = self.clean(whole)
            first = [turn for turn in parts[0] if turn["role"] != "system"][:2] if parts else []
            head = "\n".join(turn["content"] for turn in first)
            if reason is None and gate is not None and gate.find(head) is not None:
                reason = "near_duplicate"
            about = {"kind": session.kind, "version": self.version, "parents": [record.get("id")]}
            about["parent"] = record.get("lineage")
            cleaned = record.rewritten(parts[0] if parts else [])  # the group is that of the question with usual roles
            if reason is not None:
                raw = "\n".join(f"{turn['role']}: {turn['content']}" for turn in whole)
                yield Dropped(reason, "split" if reason == LONG else "clean", raw, about, parents=[cleaned])
                continue
            if gate is not None:
                gate.add(head)
            for nth, part in enumerate(parts):
                yield self._outcome(record, cleaned, part, about | {"part": nth}, session.kind)

    def _outcome(
        self, record: Record, cleaned: Record, part: list[dict[str, Any]], lineage: dict[str, Any], kind: str
    ) -> Outcome:
        if self._too_long(part):
            return Dropped(LONG, "split", part[0]["content"], lineage, parents=[cleaned])
        row = whole_row(part, str(record.get("source") or kind), tools(record), record.get("label"))
        return Kept(row, lineage, parents=[cleaned])

    def clean(self, messages: Sequence[Mapping[str, Any]]) -> Cleaned:
        """Return the cleaned parts of a conversation; a part that is a single round may be too long."""
        kept = [self._turn(turn) for turn in messages]
        head = [turn for turn in kept[:1] if turn["role"] == "system"]
        rest = kept[len(head) :]
        while rest and rest[0]["role"] not in ("user", "system"):
            rest.pop(0)
        blank = (i for i, turn in enumerate(rest) if turn["role"] == "assistant" and _is_blank(turn))
        rest = rest[: next(blank, len(rest))]
        while rest and rest[-1]["role"] != "assistant":
            rest.pop()
        if reason := self._reason(rest):
            return Cleaned([], reason)
        limit = self.characters_at_most
        parts = turns.split_rounds(rest, limit) if limit else [rest]
        return Cleaned([[*head, *part] for part in parts])

    def _turn(self, turn: Mapping[str, Any]) -> dict[str, Any]:
        role, content = ROLES.get(turn["role"], ""), turn["content"]
        if "<" in content:
            content = _TAGS.sub("", content)
        return {**turn, "role": role, "content": _text(content) if role == "assistant" else content}

    def _too_long(self, part: Sequence[Mapping[str, Any]]) -> bool:
        said = sum(len(turn["content"]) for turn in part if turn["role"] != "system")
        return self.characters_at_most is not None and said > self.characters_at_most

    def _reason(self, messages: Sequence[Mapping[str, Any]]) -> str | None:
        if len(messages) < 2:
            return "too_few_turns"
        before = ""
        for turn in messages:
            if turn["role"] not in FOLLOWS[before]:
                return "roles_do_not_alternate"
            before = turn["role"]
        if sum(len(m["content"]) for m in messages) < FEWEST_CHARACTERS:
            return "too_short"
        answers = (m["content"] for m in messages if m["role"] == "assistant")
        if any(len(a) < SERVICE_CHARACTERS and _SERVICE.search(a) for a in answers):
            return "service_message"
        if any(re.search(p, m["content"], re.IGNORECASE) for p in self.blocked for m in messages):
            return "blocked"
        return None


def _is_blank(turn: Mapping[str, Any]) -> bool:
    return not turn["content"].strip() and not turn.get("tool_calls")


def _text(answer: str) -> str:
    """Return an answer without the lines that the page it was exported from has put there."""
    if " / " in answer:
        answer = _REGENERATED.sub("", answer)
    return _COPY.sub("", answer).strip()
