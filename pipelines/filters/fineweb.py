"""FineWeb's own rules: lines that end in punctuation, short lines, repeated lines, lists."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import polars as pl

from windtunnel.pipelines.filters._rule import Example, Reason, Rule, above, ratio

_LONG = "The ferry crosses the strait four times a day between {} and the old customs house."
_TOWNS = ("Aldermouth", "Brackwater", "Cawdle", "Dunsea", "Eastkirk")
_PAGE = "\n".join(_LONG.format(town) for town in _TOWNS)


class Fineweb(Rule):
    """Drop pages that look like lists, menus or templates.

    Source: Penedo et al. 2024; reasons and order as in datatrove's FineWebQualityFilter. The published code and the
    paper differ in the share of characters that repeated lines may make up: `preset: code` is 0.01, `preset: paper` is
    0.1; `max_duplicate_line_chars` goes over both. `punctuated_or_none` keeps pages without any punctuated line.
    Shares of lines are of the lines that are not blank.
    """

    primary: ClassVar[str | None] = "preset"
    preset: Literal["code", "paper"] = "code"
    min_punctuated_lines: float | None = 0.12
    punctuated_or_none: bool = False
    max_short_lines: float | None = 0.67
    short_line_chars: int = 30
    max_duplicate_line_chars: float | None = None
    max_newlines_per_word: float | None = 0.3

    keeps: ClassVar[tuple[Example, ...]] = (
        Example(_PAGE),
        Example(f"{_PAGE}\n{_LONG.format(_TOWNS[0])}", params={"max_duplicate_line_chars": 0.2}),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example("", "empty"),
        Example(" \n\t\n", "empty"),
        Example(_PAGE.replace(".", ""), "line_punct_ratio"),
        Example("Home.\nNews.\nContact.\n" + _LONG, "short_line_ratio"),
        Example(f"{_PAGE}\n{_LONG.format(_TOWNS[0])}", "char_dup_ratio"),
        Example(f"{_PAGE}\n{_LONG.format(_TOWNS[0])}", "char_dup_ratio", params={"preset": "paper"}),
        Example("Four stand here.\n\n" * 2 + "And five stand here.", "list_ratio", params={
            "max_short_lines": None, "max_duplicate_line_chars": 1}),
    )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        return {"short_line_chars": self.short_line_chars}

    def reasons(self) -> list[Reason]:
        nonblank = pl.col("nonblank_lines")
        punctuated = ratio("punctuated_lines", "nonblank_lines")
        few = [] if self.min_punctuated_lines is None else [self._punctuation(punctuated, self.min_punctuated_lines)]
        duplicates = self.max_duplicate_line_chars
        if duplicates is None:
            duplicates = {"code": 0.01, "paper": 0.1}[self.preset]
        characters = pl.col("characters") - pl.col("newlines")
        return [
            Reason("empty", nonblank == 0, nonblank),
            *few,
            *above("short_line_ratio", ratio("short_lines", "nonblank_lines"), self.max_short_lines),
            *above("char_dup_ratio", ratio(pl.col("duplicate_line_chars"), characters), duplicates),
            *above("list_ratio", ratio("newlines", "words"), self.max_newlines_per_word),
        ]

    def _punctuation(self, share: pl.Expr, limit: float) -> Reason:
        drop = share < limit
        if self.punctuated_or_none:
            drop &= pl.col("punctuated_lines") > 0
        return Reason("line_punct_ratio", drop, share, limit, "below")
