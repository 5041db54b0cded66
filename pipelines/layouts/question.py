"""Questions alone, to be answered by the models that are compared."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Layout, Record
from windtunnel.pipelines.layouts._turns import prompt_turns, with_system
from windtunnel.pipelines.layouts.completion import PROMPTS


class Question(Layout):
    """A column `prompt` (or question, query, problem, instruction) and no answer: for win rates, not for training."""

    primary: ClassVar[str | None] = "prompt"
    rank: ClassVar[int] = 90
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"question": "Why?"}, (("user", "Why?"),)),
        Example({"prompt": None}, refused="no_text"),
    )
    prompt: str | None = None
    system: str = "system"

    def fits(self, columns: Collection[str]) -> bool:
        return self._name(columns) in columns

    def row(self, record: Record) -> Chat:
        name = self._name(record)
        return Chat(with_system(prompt_turns(record.get(name), name), record.get(self.system)))

    def _name(self, columns: Collection[str]) -> str:
        return self.prompt or next((name for name in PROMPTS if name in columns), PROMPTS[0])
