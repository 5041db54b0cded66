"""ShareGPT's layout: lists of turns with `from` and `value`, as exports of chat services write them."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Layout, Record
from windtunnel.pipelines.layouts._turns import LABEL, label_of, tools_of, turns, with_system


class Sharegpt(Layout):
    """A column `conversations` of {from, value}: human and gpt, system, function_call and observation.

    Turns of {role, content} are read as well. The text of `function_call` is the JSON of a call.
    """

    primary: ClassVar[str | None] = "conversations"
    version: ClassVar[int] = 2
    rank: ClassVar[int] = 31
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}], "system": "Be."},
            (("system", "Be."), ("user", "Why?"), ("assistant", "So.")),
        ),
        Example({"conversations": [{"from": "alien", "value": "?"}]}, refused="unknown_role"),
        Example({"conversations": [{"from": "function_call", "value": "no JSON"}]}, refused="no_tool_call"),
    )
    conversations: str = "conversations"
    system: str | None = None
    label: str | None = LABEL  # of the last answer: whether it is desirable

    def fits(self, columns: Collection[str]) -> bool:
        return self.conversations in columns

    def row(self, record: Record) -> Chat:
        said = turns(record.get(self.conversations), self.conversations)
        return Chat(with_system(said, record, self.system), tools_of(record.get("tools")), label_of(record, self.label))
