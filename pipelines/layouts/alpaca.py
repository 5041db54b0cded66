"""Alpaca's layout: an instruction, perhaps an input, and an output."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Layout, Record
from windtunnel.pipelines.layouts._turns import (
    INPUTS,
    LABEL,
    asked_with,
    history_turns,
    label_of,
    named,
    text,
    with_system,
)

OUTPUTS = ("output", "response")


class Alpaca(Layout):
    """Columns `instruction`, `input` (or context; optional), `output` (or response); `system`, `history` where present.

    The user's turn is the instruction, and after a blank line the input.
    """

    version: ClassVar[int] = 2
    rank: ClassVar[int] = 40
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"instruction": "Add.", "input": "1 2", "output": "3"}, (("user", "Add.\n\n1 2"), ("assistant", "3"))),
        Example(
            {"instruction": "And 3?", "output": "6", "history": [["Add 1 2.", "3"]]},
            (("user", "Add 1 2."), ("assistant", "3"), ("user", "And 3?"), ("assistant", "6")),
        ),
        Example(
            {"instruction": "Add.", "context": "1 2", "response": "3", "category": "sums"},
            (("user", "Add.\n\n1 2"), ("assistant", "3")),
        ),
        Example({"instruction": "Add.", "output": None}, refused="no_text"),
    )
    instruction: str = "instruction"
    input: str | None = None
    output: str | None = None
    system: str | None = None
    history: str = "history"
    label: str | None = LABEL  # of the output: whether it is desirable

    def fits(self, columns: Collection[str]) -> bool:
        return self.instruction in columns and self._answer(columns) in columns

    def row(self, record: Record) -> Chat:
        asked = text(record.get(self.instruction), self.instruction)
        column = named(record, self.input, INPUTS)
        asked = asked_with(asked, record, column)
        answer = self._answer(record)
        messages = [
            *history_turns(record.get(self.history), self.history),
            {"role": "user", "content": asked},
            {"role": "assistant", "content": text(record.get(answer), answer)},
        ]
        label = label_of(record, self.label) if self.label != answer else None
        return Chat(with_system(messages, record, self.system), label=label)

    def _answer(self, columns: Collection[str]) -> str:
        return named(columns, self.output, OUTPUTS)
