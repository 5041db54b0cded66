"""Gopher's repetition rules: duplicate paragraphs and lines, the most frequent and the repeated word n-grams."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from windtunnel.pipelines.filters._rule import Example, Reason, Rule, above, ratio, when

_ONCE = "Harbours silt up slowly. Nobody dredges them, since ships moved elsewhere long ago; only gulls remain."
_PROSE = (
    "Millers once lived beside every river of this county. Their wheels turned from March until the frost, grinding "
    "barley for brewers and rye for bakers. When steam arrived, most of them sold up; some learned to mend engines, "
    "others went to sea. What is left today are weirs, a few sluices, and names on old maps."
)


class GopherRepetition(Rule):
    """Drop documents of which too much repeats, asked in datatrove's order.

    Source: Rae et al. 2021, table A1; defaults and reasons as in datatrove's GopherRepetitionFilter. A limit of null
    switches its rule off. Shares are of the text's characters; the most frequent n-gram counts even if it occurs once,
    so that a text of a few words goes.
    """

    dup_para_frac: float | None = 0.3
    dup_para_char_frac: float | None = 0.2
    dup_line_frac: float | None = 0.3
    dup_line_char_frac: float | None = 0.2
    top_2_gram: float | None = 0.2
    top_3_gram: float | None = 0.18
    top_4_gram: float | None = 0.16
    duplicated_5_gram: float | None = 0.15
    duplicated_6_gram: float | None = 0.14
    duplicated_7_gram: float | None = 0.13
    duplicated_8_gram: float | None = 0.12
    duplicated_9_gram: float | None = 0.11
    duplicated_10_gram: float | None = 0.10

    keeps: ClassVar[tuple[Example, ...]] = (Example(_PROSE), Example(f"{_PROSE}\n{_ONCE}"))
    drops: ClassVar[tuple[Example, ...]] = (
        Example("", "empty"),
        Example("\n\n".join(["a", "b", "a", "a"]), "dup_para_frac"),
        Example(f"x\n\ny\n\nz\n\nw\n\n{_ONCE}\n\n{_ONCE}", "dup_para_char_frac"),
        Example(_ONCE + "\nok\nok\nok", "dup_line_frac"),
        Example(f"x\ny\nz\nw\n{_ONCE}\n{_ONCE}", "dup_line_char_frac"),
        Example("two words", "top_2_gram"),
        Example(_ONCE + " and so on" * 8, "top_3_gram", params={"top_2_gram": None}),
        Example(f"{_PROSE} {_ONCE} {_PROSE}", "duplicated_5_n_grams"),
    )

    def reasons(self) -> list[Reason]:
        characters = "characters"
        return [
            *when("empty", pl.col(characters) == 0),
            *above("dup_para_frac", ratio("duplicate_paragraphs", "paragraphs"), self.dup_para_frac),
            *above("dup_para_char_frac", ratio("duplicate_paragraph_chars", characters), self.dup_para_char_frac),
            *above("dup_line_frac", ratio("duplicate_line_runs", "line_runs"), self.dup_line_frac),
            *above("dup_line_char_frac", ratio("duplicate_line_run_chars", characters), self.dup_line_char_frac),
            *(
                reason
                for n in (2, 3, 4)
                for reason in above(
                    f"top_{n}_gram", ratio(f"top_{n}_gram_chars", characters), getattr(self, f"top_{n}_gram")
                )
            ),
            *(
                reason
                for n in range(5, 11)
                for reason in above(
                    f"duplicated_{n}_n_grams",
                    ratio(f"duplicate_{n}_gram_chars", characters),
                    getattr(self, f"duplicated_{n}_gram"),
                )
            ),
        ]
