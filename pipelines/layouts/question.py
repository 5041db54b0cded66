"""Questions alone, to be answered by the models that are compared."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Layout, Record
from windtunnel.pipelines.layouts._turns import INPUTS, PROMPTS, asked_with, named, prompt_turns, text, with_system


class Question(Layout):
    """A column `prompt` (or question, query, problem, instruction) and no answer: for win rates, not for training.

    An instruction is followed by its `input` (or context).
    """

    primary: ClassVar[str | None] = "prompt"
    rank: ClassVar[int] = 90
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"question": "Why?"}, (("user", "Why?"),)),
        Example({"instruction": "Add.", "input": "1 2"}, (("user", "Add.\n\n1 2"),)),
        Example({"prompt": None}, refused="no_text"),
    )
    prompt: str | None = None
    system: str | None = None

    def fits(self, columns: Collection[str]) -> bool:
        return self._name(columns) in columns

    def row(self, record: Record) -> Chat:
        name = self._name(record)
        if name == "instruction":
            asked = asked_with(text(record.get(name), name), record, named(record, None, INPUTS))
            return Chat(with_system([{"role": "user", "content": asked}], record, self.system))
        return Chat(with_system(prompt_turns(record.get(name), name), record, self.system))

    def _name(self, columns: Collection[str]) -> str:
        return named(columns, self.prompt, PROMPTS)
