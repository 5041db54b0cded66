"""Lists of messages with role and content, as OpenAI's API and most data sets write conversations."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Layout, Record
from windtunnel.pipelines.layouts._turns import LABEL, label_of, named, tools_of, turns, with_system

NAMES = ("messages", "conversation")


class Messages(Layout):
    """A column `messages` (or `conversation`) of {role, content}; contents of several parts are joined if all are text.

    Further fields of turns (`reasoning_content`, `tool_calls`, `tool_call_id`, `name`) and the column `tools` are kept
    for the chat template. A column `system` (or system_prompt) is the first turn.
    """

    primary: ClassVar[str | None] = "messages"
    version: ClassVar[int] = 2
    rank: ClassVar[int] = 30
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
            (("user", "Why?"), ("assistant", "So.")),
        ),
        Example(
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            refused="content_not_text",
        ),
        Example({"messages": '[{"role": "user", "content": "a"}]'}, (("user", "a"),)),
        Example({"messages": []}, refused="no_messages"),
    )
    messages: str | None = None
    system: str | None = None
    label: str | None = LABEL  # of the last answer: whether it is desirable

    def fits(self, columns: Collection[str]) -> bool:
        return self._column(columns) in columns

    def row(self, record: Record) -> Chat:
        name = self._column(record)
        said = turns(record.get(name), name)
        return Chat(with_system(said, record, self.system), tools_of(record.get("tools")), label_of(record, self.label))

    def _column(self, columns: Collection[str]) -> str:
        return named(columns, self.messages, NAMES)
