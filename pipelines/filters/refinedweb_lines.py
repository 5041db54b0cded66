"""RefinedWeb's line edits: capitals, numbers, counters, one-word lines and menu phrases go; edits the text."""

from __future__ import annotations

from typing import Any, ClassVar

import polars as pl
import pyarrow as pa
from pydantic import Field

from windtunnel.pipelines.filters._rule import Example, Reason, Rule

COUNTED = "likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads|views|followers"
SIGNS = r"[^\p{L}\p{N}_]*"  # what is no letter or digit to Python; the regex crate counts a raised two among these
COUNTER = rf"^{SIGNS}\d[\d.,]*[kmb]?\s+(?:{COUNTED}){SIGNS}$"  # of a line in lower case
ANYWHERE, AT_THE_END, AT_THE_START = r"(?i)\s?items in cart", r"(?i)\s?read more\.\.\.$", r"(?i)^sign-in\s?"
WHITE = "".join(c for c in map(chr, range(0x3001)) if c.isspace())  # what str.strip takes
# str.split's words; in scripts without spaces every character is one, or no line of them would have two
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
WORD = rf"[{UNSPACED}]|[^\s\x1c-\x1f{UNSPACED}]+"
TOKEN = (
    rf"[{UNSPACED}]|(?:^|[ \n\r\t\x0b\x0c\x00]|[{UNSPACED}])[\p{{L}}\p{{N}}--[{UNSPACED}]]"  # fastText's that open so
)
DIGIT = "0-9" + "".join(c for c in map(chr, range(0x80, 0x20000)) if c.isdigit() and not c.isdecimal()) + r"\p{Nd}"
_PROSE = "The river ran slowly past the old mill, and nobody who lived in the village could say how long it had stood. "
_PAGE = _PROSE * 3 + "\n" + _PROSE * 3


class RefinedwebLines(Rule):
    """Take out lines that are no prose, then documents that lose too many words by it.

    Source: Penedo et al. 2023, appendix G.2, in the order of DCLM's refinedweb pipeline (Li et al. 2024). A line goes
    with more than `max_uppercase` capitals among its characters, with nothing but digits (`numbers`), if it counts
    likes or views (`counters`), or with fewer than `min_words_per_line` words. From lines of at most `short_line_words`
    words "items in cart", "Read more..." at the end and "Sign-in" at the start are cut (`phrases`; DCLM's dots match
    any character there, ours are dots). A document goes when nothing is left or more than `max_removed` of its words
    are gone; words count as in DCLM: fastText's tokens that open with a letter or digit. In scripts without spaces
    every character counts as a word. Columns: `line_edit_words`, `line_edit_words_left`.
    """

    max_uppercase: float = Field(0.5, ge=0, le=1)
    numbers: bool = True
    counters: bool = True
    min_words_per_line: int = Field(2, ge=0)
    phrases: bool = True
    short_line_words: int = Field(10, ge=0)
    max_removed: float | None = Field(0.05, ge=0, le=1)

    keeps: ClassVar[tuple[Example, ...]] = (
        Example(_PAGE),
        Example(_PAGE + "\n3.5k Likes\nMENU\n2024\nSign-in"),
        Example("HOME\n12 comments", params={"max_removed": 1.0, "max_uppercase": 1.0, "min_words_per_line": 1}),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example("", "nothing_left"),
        Example("MENU\n\n17 views\n2024", "nothing_left"),
        Example(_PROSE + "\nWE ARE CLOSED ON MONDAYS\n3 likes", "too_many_words_removed"),
        Example("物語\n物", "too_many_words_removed"),
    )

    @property
    def edits(self) -> bool:
        return True

    def measure_config(self) -> dict[str, Any]:
        return self.model_dump(exclude={"max_removed"})

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        words = pl.col("text").str.count_matches(TOKEN)
        before = _frame(batch).select(line_edit_words=words, text=self._edited())
        return before.select("line_edit_words", line_edit_words_left=words)

    def reasons(self) -> list[Reason]:
        words, left = pl.col("line_edit_words"), pl.col("line_edit_words_left")
        removed = (words - left.cast(pl.Int64)) / words
        reasons = [Reason("nothing_left", left == 0, left, 1, "below")]
        if self.max_removed is not None:
            reasons.append(
                Reason("too_many_words_removed", removed > self.max_removed, removed, self.max_removed, "above")
            )
        return reasons

    def edit(self, batch: pa.RecordBatch) -> tuple[pa.Array, dict[str, int]]:
        frame = _frame(batch)
        new = frame.select(self._edited())["text"]
        return new.to_arrow(), {"rewritten_documents": int(new.ne_missing(frame["text"]).sum())}

    def _edited(self) -> pl.Expr:
        """Return the text after all edits; the document's ends are trimmed after each but the fourth, as in DCLM."""
        line, text = pl.element(), pl.col("text")
        words = line.str.count_matches(WORD)
        text = _kept(text, line.str.count_matches(r"\p{Uppercase}") <= self.max_uppercase * line.str.len_chars())
        if self.numbers:
            text = _kept(text, ~line.str.contains(rf"^[{DIGIT}]+$"))
        if self.counters:
            text = _kept(text, ~line.str.to_lowercase().str.contains(COUNTER))
        text = _kept(text, (words >= self.min_words_per_line) | (line == ""), trim=False)
        for phrase in (ANYWHERE, AT_THE_END, AT_THE_START) if self.phrases else ():
            cut = pl.when(words <= self.short_line_words).then(line.str.replace_all(phrase, "")).otherwise(line)
            stays = (line == "") | (cut.str.strip_chars(WHITE) != "")
            text = _joined(text.str.split("\n").list.eval(cut.filter(stays)), trim=True)
        return text.alias("text")


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    return pl.DataFrame({"text": pl.Series(batch.column("text").cast(pa.large_string())).fill_null("")})


def _kept(text: pl.Expr, stays: pl.Expr, trim: bool = True) -> pl.Expr:
    """Return the text with the lines for which `stays` holds."""
    return _joined(text.str.split("\n").list.eval(pl.element().filter(stays)), trim)


def _joined(lines: pl.Expr, trim: bool) -> pl.Expr:
    text = lines.list.join("\n")
    return text.str.strip_chars(WHITE) if trim else text
