"""Gopher's quality rules: word counts and lengths, symbols, bullets, ellipses, letters, stop words."""

from __future__ import annotations

from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from windtunnel.pipelines.features.kernels.columns import MOST_STOP_WORDS, STOP_WORDS
from windtunnel.pipelines.filters._rule import Example, Reason, Rule, above, below, ratio

_PROSE = "The ship left the harbour at dawn, and those who had come to see it stayed with the pilots until noon. "
_GERMAN = "Das Schiff verließ am Morgen den Hafen, während die Leute am Ufer standen und bis zum Mittag blieben. "


class GopherQuality(Rule):
    """Drop documents that fail one of Gopher's quality heuristics, asked in datatrove's order.

    Source: Rae et al. 2021, section A.1.1; defaults and reasons as in datatrove's GopherQualityFilter. A limit of null
    switches its rule off. Word counts and mean length leave out words that are symbols only; shares are of all words.
    stop_words: at most 62 of the text's language, of which `min_stop_words` different ones must occur, case as written.
    """

    min_words: int | None = 50
    max_words: int | None = 100_000
    min_mean_word_chars: float | None = 3
    max_mean_word_chars: float | None = 10
    max_symbol_word_ratio: float | None = 0.1
    max_bullet_line_share: float | None = 0.9
    max_ellipsis_line_share: float | None = 0.3
    min_alpha_word_share: float | None = 0.8
    min_stop_words: int | None = 2
    stop_words: tuple[str, ...] = Field(STOP_WORDS, min_length=1, max_length=MOST_STOP_WORDS)

    keeps: ClassVar[tuple[Example, ...]] = (
        Example(_PROSE * 4),
        Example(_GERMAN * 4, params={"stop_words": ["und", "während", "die"]}),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example("", "gopher_short_doc"),
        Example(_PROSE, "gopher_short_doc"),
        Example(_PROSE * 4, "gopher_long_doc", params={"max_words": 60}),
        Example("of a b c " * 50, "gopher_below_avg_threshold"),
        Example("the misunderstandings of counterrevolutionaries " * 50, "gopher_above_avg_threshold"),
        Example(_PROSE * 4 + "# " * 20, "gopher_too_many_hashes"),
        Example(_PROSE * 4 + "and then ... " * 20, "gopher_too_many_ellipsis"),
        Example("- the end of all things\n" * 40, "gopher_too_many_bullets"),
        Example(
            "the end of all these things here and there and that is all of it...\n" * 20, "gopher_too_many_end_ellipsis"
        ),
        Example("those accounts of 1718 and 4711 " * 40, "gopher_below_alpha_threshold"),
        Example(_GERMAN * 4, "gopher_enough_stop_words"),
        Example(_PROSE * 4, "gopher_enough_stop_words", params={"stop_words": ["und", "der"]}),
        Example("ships leave harbours early every morning " * 20, "gopher_enough_stop_words"),
    )

    def settings(self) -> dict[str, Any]:
        return {"stop_words": self.stop_words}

    def reasons(self) -> list[Reason]:
        real = pl.col("non_symbol_words")
        mean = ratio("non_symbol_word_chars", "non_symbol_words")
        return [
            *below("gopher_short_doc", real, self.min_words),
            *above("gopher_long_doc", real, self.max_words),
            *below("gopher_below_avg_threshold", mean, self.min_mean_word_chars),
            *above("gopher_above_avg_threshold", mean, self.max_mean_word_chars),
            *above("gopher_too_many_hashes", ratio("hashes", "words"), self.max_symbol_word_ratio),
            *above("gopher_too_many_ellipsis", ratio("ellipses", "words"), self.max_symbol_word_ratio),
            *above("gopher_too_many_bullets", ratio("bullet_lines", "lines"), self.max_bullet_line_share),
            *above("gopher_too_many_end_ellipsis", ratio("ellipsis_lines", "lines"), self.max_ellipsis_line_share),
            *below("gopher_below_alpha_threshold", ratio("alpha_words", "words"), self.min_alpha_word_share),
            *below("gopher_enough_stop_words", pl.col("stop_words"), self.min_stop_words),
        ]
