"""Questions alone, to be answered by the models that are compared."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Layout, Record
from windtunnel.pipelines.layouts._turns import PROMPTS, named, prompt_turns, with_system


class Question(Layout):
    """A column `prompt` (or question, query, problem, instruction) and no answer: for win rates, not for training."""

    primary: ClassVar[str | None] = "prompt"
    rank: ClassVar[int] = 90
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"question": "Why?"}, (("user", "Why?"),)),
        Example({"prompt": None}, refused="no_text"),
    )
    prompt: str | None = None
    system: str | None = None

    def fits(self, columns: Collection[str]) -> bool:
        return self._name(columns) in columns

    def row(self, record: Record) -> Chat:
        name = self._name(record)
        return Chat(with_system(prompt_turns(record.get(name), name), record, self.system))

    def _name(self, columns: Collection[str]) -> str:
        return named(columns, self.prompt, PROMPTS)
