"""Documents of a wanted length, in words and characters."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from windtunnel.pipelines.filters._rule import Example, Reason, Rule, above, below


class Length(Rule):
    """Drop documents that are too short or too long; a bound of null is switched off.

    Words are those of the word rule, punctuation included.
    """

    min_words: int | None = 50
    max_words: int | None = None
    min_characters: int | None = None
    max_characters: int | None = None

    keeps: ClassVar[tuple[Example, ...]] = (Example("word " * 50),)
    drops: ClassVar[tuple[Example, ...]] = (
        Example("word " * 49, "too_few_words"),
        Example("", "too_few_words"),
        Example("word " * 9, "too_many_words", params={"min_words": None, "max_words": 8}),
        Example("é" * 9, "too_few_characters", params={"min_words": None, "min_characters": 10}),
        Example("é" * 9, "too_many_characters", params={"min_words": None, "max_characters": 8}),
    )

    def reasons(self) -> list[Reason]:
        words, characters = pl.col("words"), pl.col("characters")
        return [
            *below("too_few_words", words, self.min_words),
            *above("too_many_words", words, self.max_words),
            *below("too_few_characters", characters, self.min_characters),
            *above("too_many_characters", characters, self.max_characters),
        ]
