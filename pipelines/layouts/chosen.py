"""Pairs of answers read as conversations: the prompt and the chosen answer."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Record
from windtunnel.pipelines.layouts.preference import Preference


class Chosen(Preference):
    """The rows of `preference` without their rejected answers, to fine-tune on, or for prompts to reply to.

    Files with these columns are read as `preference` unless `layout: chosen` names it.
    """

    gives: ClassVar = "conversations"
    rank: ClassVar[int] = 99
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, (("user", "Why?"), ("assistant", "So."))),
        Example({"chosen": "So.", "rejected": "No."}, refused="no_prompt"),
    )

    def row(self, record: Record) -> Chat:  # type: ignore[override]
        pair = super().row(record)
        return Chat([*pair.prompt, *pair.chosen], pair.tools)
