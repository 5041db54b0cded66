"""Shares of symbols, digits, capitals and letters among characters, of hashes and ellipses to words."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from windtunnel.pipelines.filters._rule import Example, Reason, Rule, above, below, ratio

_ALL = {"max_symbols": 0.3, "max_digits": 0.3, "max_capitals": 0.5, "min_letters": 0.6}


class Symbols(Rule):
    """Drop documents with too many symbols, digits, capitals, hashes or ellipses, or too few letters.

    Shares are of the characters that are not white space; a symbol is a character of Unicode's categories P or S; the
    share of capitals is of the letters; hashes and ellipses are counted per word. A limit of null is switched off.
    Only the last two have a limit by default, that of Gopher (Rae et al. 2021); for shares of characters no source
    gives one that holds in every language, so they are off until a recipe sets them.
    """

    max_symbols: float | None = None
    max_digits: float | None = None
    max_capitals: float | None = None
    min_letters: float | None = None
    max_hashes_per_word: float | None = 0.1
    max_ellipses_per_word: float | None = 0.1

    keeps: ClassVar[tuple[Example, ...]] = (
        Example("Seven bridges cross the river; the oldest (1604) is closed.", params=_ALL),
        Example("Семь мостов через реку.", params=_ALL),
        Example("BUY 17 ==> ~~"),
        Example(""),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example("==> ~~ [x] ~~ <== !!!", "too_many_symbols", params=_ALL),
        Example("17 18 19 years", "too_many_digits", params=_ALL),
        Example("BUY IT NOW, and BE QUICK", "too_many_capitals", params=_ALL),
        Example("a1b2c3 d4-5 e6-7", "too_few_letters", params={"min_letters": 0.6}),
        Example("", "too_few_letters", params=_ALL),
        Example("#one of #two and three", "too_many_hashes"),
        Example("so ... it goes… and on", "too_many_ellipses"),
    )

    def reasons(self) -> list[Reason]:
        visible = pl.col("characters") - pl.col("space_chars")
        return [
            *above("too_many_symbols", ratio(pl.col("symbol_chars"), visible), self.max_symbols),
            *above("too_many_digits", ratio(pl.col("digit_chars"), visible), self.max_digits),
            *above("too_many_capitals", ratio("upper_chars", "letter_chars"), self.max_capitals),
            *below("too_few_letters", ratio(pl.col("letter_chars"), visible), self.min_letters),
            *above("too_many_hashes", ratio("hashes", "words"), self.max_hashes_per_word),
            *above("too_many_ellipses", ratio("ellipses", "words"), self.max_ellipses_per_word),
        ]
