"""Writing system of the letters."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import ClassVar, Literal

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Constraint, Example

# The first word of a letter's Unicode name tells its writing system.
NAMES = {
    "latin": {"LATIN", "FULLWIDTH"}, "cyrillic": {"CYRILLIC"}, "greek": {"GREEK"}, "arabic": {"ARABIC"},
    "hebrew": {"HEBREW"}, "devanagari": {"DEVANAGARI"}, "bengali": {"BENGALI"}, "tamil": {"TAMIL"},
    "telugu": {"TELUGU"}, "thai": {"THAI"}, "georgian": {"GEORGIAN"}, "armenian": {"ARMENIAN"},
    "chinese": {"CJK"}, "japanese": {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}, "korean": {"HANGUL"},
}  # fmt: skip


class Script(Constraint):
    """A share of the letters that belong to the writing system of a language.

    It tells Russian from English, and not English from French. Japanese needs kana, since Chinese has none.
    """

    primary: ClassVar[str | None] = "script"
    script: Literal[
        "latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "bengali", "tamil", "telugu", "thai",
        "georgian", "armenian", "chinese", "japanese", "korean",
    ]  # fmt: skip
    share: float = Field(0.9, gt=0, le=1)

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"script": "cyrillic"}, "Это мельница.", "This is a mill."),
        Example({"script": "japanese"}, "これは水車小屋です。", "这是一座水磨。"),
        Example({"script": "latin"}, "C'est l'été.", "123"),
    )

    def holds(self, reply: str) -> bool:
        letters = [_name(c) for c in reply if c.isalpha()]
        if self.script == "japanese" and not {"HIRAGANA", "KATAKANA"} & set(letters):
            return False
        return bool(letters) and sum(name in NAMES[self.script] for name in letters) >= self.share * len(letters)


@cache
def _name(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
