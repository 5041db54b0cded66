"""C4's rules: lines that end in punctuation and have words, no boilerplate, enough sentences; edits the text."""

from __future__ import annotations

from typing import Any, ClassVar

import polars as pl
import pyarrow as pa

from windtunnel.pipelines.features.settings import Settings
from windtunnel.pipelines.filters._rule import Example, Reason, Rule, above, below

_FIVE = "\n".join(
    f"This is line {word} of a page, and it ends well." for word in ("one", "two", "three", "four", "five")
)


class C4(Rule):
    """Drop lines as C4 does, then documents of which too little is left; the text of the kept ones is rewritten.

    Source: Raffel et al. 2020 and tensorflow_datasets' c4_utils; defaults, order and reasons as in datatrove's
    C4QualityFilter. A line goes if a word in it is longer than `max_word_chars`, it does not end in . ? ! or a quote
    (`terminal_punctuation`; an ellipsis is no end), it has fewer than `min_words_per_line` words, or it speaks of
    javascript or of cookies and policies. A document goes at "lorem ipsum" or "{" in a line that stood so far, or with
    fewer than `min_sentences` sentences in what is left. `[1]`, `[edit]` and `[citation needed]` are cut out.
    The words of a line are what stands between white space; in scripts without spaces they are the segmenter's
    (`unspaced_words`; not with `words: exact`, where all is as in datatrove, which drops such lines as one word).
    Their full stops are no terminal punctuation: there `terminal_punctuation` is better false.
    `paragraphs` also asks for three lines of 200 characters in the original text (mC4's rule).
    """

    terminal_punctuation: bool = True
    citations: bool = True
    min_words_per_line: int = 3
    max_word_chars: int = 1000
    javascript: bool = True
    policy: bool = True
    lorem_ipsum: bool = True
    curly_bracket: bool = True
    unspaced_words: bool = True
    min_sentences: int | None = 5
    paragraphs: bool = False

    keeps: ClassVar[tuple[Example, ...]] = (
        Example(_FIVE),
        Example(_FIVE + "\nYou need javascript { here } to see this page."),
        Example("no end\n" * 5, params={"terminal_punctuation": False, "min_words_per_line": 2}),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example("", "too_few_sentences"),
        Example(_FIVE.replace("well.", "well..."), "too_few_sentences"),
        Example(_FIVE + "\nLorem ipsum is what printers write.", "lorem_ipsum"),
        Example(_FIVE + "\nHere is some code: { x }.", "curly_bracket"),
        Example(_FIVE.replace("one", "one, with our cookie policy"), "too_few_sentences"),
        Example(_FIVE, "too_few_long_lines", params={"paragraphs": True}),
    )

    def for_words(self, words: str) -> C4:
        return self.model_copy(update={"unspaced_words": False}) if words == "exact" else self

    @property
    def edits(self) -> bool:
        return True

    def settings(self) -> dict[str, Any]:
        return {
            "c4_terminal_punctuation": self.terminal_punctuation,
            "c4_citations": self.citations,
            "c4_min_words_per_line": self.min_words_per_line,
            "c4_max_word_chars": self.max_word_chars,
            "c4_javascript": self.javascript,
            "c4_policy": self.policy,
            "c4_lorem_ipsum": self.lorem_ipsum,
            "c4_curly_bracket": self.curly_bracket,
            "c4_unspaced_words": self.unspaced_words,
        }

    def reasons(self) -> list[Reason]:
        long_lines = below("too_few_long_lines", pl.col("long_paragraphs"), 3) if self.paragraphs else []
        return [
            *above("lorem_ipsum", pl.col("c4_lorem_ipsum"), 0),
            *above("curly_bracket", pl.col("c4_curly_bracket"), 0),
            *below("too_few_sentences", pl.col("c4_sentences"), self.min_sentences),
            *long_lines,
        ]

    def edit(self, batch: pa.RecordBatch) -> tuple[pa.Array, dict[str, int]]:
        from windtunnel.pipelines.features.pass_over import rewrite_column

        old = batch.column("text")
        new = rewrite_column(old, Settings(**self.settings()))
        changed = pl.Series(old.cast(new.type)).ne_missing(pl.Series(new)).sum()
        return new, {"rewritten_documents": int(changed)}
