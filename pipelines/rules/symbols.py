"""Shares of symbols, digits, capitals and letters among a document's characters."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from pipelines.rule import Example, Reason, Rule, above, below, ratio


class Symbols(Rule):
    """Drop documents with too many symbols, digits or capitals, or too few letters.

    Shares are of the characters that are not white space; a symbol is a character of Unicode's categories P or S; the
    share of capitals is of the letters. A limit of null switches its rule off.
    """

    max_symbols: float | None = 0.3
    max_digits: float | None = 0.3
    max_capitals: float | None = 0.5
    min_letters: float | None = 0.6

    keeps: ClassVar[tuple[Example, ...]] = (
        Example("Seven bridges cross the river; the oldest (1604) is closed."),
        Example("Семь мостов через реку."),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example("==> ~~ [x] ~~ <== !!!", "too_many_symbols"),
        Example("17 18 19 years", "too_many_digits"),
        Example("BUY NOW today", "too_many_capitals"),
        Example("a1b2c3 d4-5 e6-7", "too_few_letters", params={"max_digits": None}),
        Example("", "too_few_letters"),
    )

    def reasons(self) -> list[Reason]:
        visible = pl.col("characters") - pl.col("space_chars")
        return [
            *above("too_many_symbols", ratio(pl.col("symbol_chars"), visible), self.max_symbols),
            *above("too_many_digits", ratio(pl.col("digit_chars"), visible), self.max_digits),
            *above("too_many_capitals", ratio("upper_chars", "letter_chars"), self.max_capitals),
            *below("too_few_letters", ratio(pl.col("letter_chars"), visible), self.min_letters),
        ]
