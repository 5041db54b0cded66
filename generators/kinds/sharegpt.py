"""Cleans conversations as they come from people's exports, after Vicuna's ShareGPT pipeline (Chiang et al. 2023).

Against the original's faults: no word list that throws out whatever names a company, near copies beside exact ones, no
part of a cut conversation is empty and the last round is never lost. Nothing is asked of any model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from windtunnel.generators.core.generator import Dropped, Example, Generator, Kept, Outcome
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.text import turns
from windtunnel.generators.text.groups import group_of
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
SERVICE_CHARACTERS = 300  # a longer answer that holds such words talks about them


class ShareGPT(Generator):
    """Cleans the rows of the input `conversations`; `rows` at most are read.

    `near_duplicate` compares first question and first answer; `characters_at_most` cuts between rounds. `blocked` are
    regular expressions that cost a conversation its place; none by default.
    """

    version: ClassVar[int] = 3
    reads: ClassVar[tuple[str, ...]] = ("conversations",)
    sequential: ClassVar[bool] = True
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={},
            inputs={
                "conversations": [
                    {"id": str(i), "source": "s", "messages": [{"role": r, "content": c} for r, c in turns_]}
                    for i, turns_ in enumerate(
                        (
                            [
                                ("gpt", "Hi!"),
                                ("human", "Why is it <span>foggy</span>?"),
                                ("gpt", "2 / 2\nIt is cold."),
                                ("human", "?"),
                            ],
                            [("human", "Why is it foggy?"), ("gpt", "It is cold.")],
                            [("human", "Why is it so?"), ("human", "Well?"), ("gpt", "It is so.")],
                        )
                    )
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

    def models(self) -> tuple[str, ...]:
        """Return none: nothing is asked."""
        return ()

    def generate(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per conversation; one that is cut gives one per part."""
        table = session.inputs["conversations"]
        gate = NearDuplicateGate(self.near_duplicate)
        total = min(self.rows, len(table))
        for row in table.spread(range(total), total):
            messages, reason = self._cleaned(row)
            raw = "\n".join(f"{m['role']}: {m['content']}" for m in row.get("messages") or ())
            head = "\n".join(m["content"] for m in messages[:2])
            if reason is None and gate.find(head) is not None:
                reason = "near_duplicate"
            about = {
                "kind": session.kind,
                "version": self.version,
                "parents": [row.get("id")],
                "parent": row.get("lineage"),
                "group": group_of({**row, "messages": messages}),  # as cleaned: the roles have their usual names
            }
            if reason is not None:
                yield Dropped(reason, "clean", raw, about)
                continue
            gate.add(head)
            yield from self._parts(messages, str(row.get("source") or session.kind), about)

    def _cleaned(self, row: Mapping[str, Any]) -> tuple[list[dict[str, str]], str | None]:
        """Return (messages, None) or (what there is, the reason why it is of no use)."""
        known = [(ROLES.get(m["role"], ""), m["content"]) for m in row.get("messages") or () if m["role"] != "system"]
        found = [
            message(role, _text(content) if role == "assistant" else _TAGS.sub("", content)) for role, content in known
        ]
        while found and found[0]["role"] != "user":
            found.pop(0)
        empty = next(
            (i for i, m in enumerate(found) if m["role"] == "assistant" and not m["content"].strip()), len(found)
        )
        found = found[:empty]
        while found and found[-1]["role"] == "user":
            found.pop()
        if len(found) < 2:
            return found, "too_few_turns"
        if any(m["role"] != ("user", "assistant")[i % 2] for i, m in enumerate(found)):
            return found, "roles_do_not_alternate"
        if sum(len(m["content"]) for m in found) < FEWEST_CHARACTERS:
            return found, "too_short"
        answers = [m["content"] for m in found[1::2]]
        if any(len(a) < SERVICE_CHARACTERS and _SERVICE.search(a) for a in answers):
            return found, "service_message"
        if any(re.search(p, m["content"], re.IGNORECASE) for p in self.blocked for m in found):
            return found, "blocked"
        return found, None

    def _parts(self, messages: list[dict[str, str]], source: str, about: dict[str, Any]) -> Iterator[Outcome]:
        limit = self.characters_at_most
        for nth, part in enumerate(turns.split_rounds(messages, limit) if limit else [messages]):
            if limit and sum(len(m["content"]) for m in part) > limit:
                yield Dropped("round_too_long", "split", part[0]["content"], about | {"part": nth})
            else:
                yield Kept(conversation_row(part, source, about | {"part": nth}))


def _text(answer: str) -> str:
    """Return an answer without the marks that the page put around it."""
    return _COPY.sub("", _REGENERATED.sub("", _TAGS.sub("", answer))).strip()
