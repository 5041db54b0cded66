"""Pairs of answers read as conversations: the prompt and the chosen answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Layout, Record
from windtunnel.pipelines.layouts.preference import Preference


class Chosen(Layout):
    """The rows of `preference` without their rejected answers, to fine-tune on, or for prompts to reply to.

    Files with these columns are read as `preference` unless `layout: chosen` names it.
    """

    rank: ClassVar[int] = 99
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, (("user", "Why?"), ("assistant", "So."))),
        Example({"chosen": "So.", "rejected": "No."}, refused="no_prompt"),
    )
    prompt: str | None = None
    chosen: str = "chosen"
    rejected: str = "rejected"
    system: str | None = None

    def fits(self, columns: Collection[str]) -> bool:
        return self.chosen in columns and self.rejected in columns

    def row(self, record: Record) -> Chat:
        names = {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected, "system": self.system}
        pair = Preference(**names).row(record)
        return Chat([*pair.prompt, *pair.chosen], pair.tools)
