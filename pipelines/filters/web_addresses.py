"""Addresses of the web cut out of text, and the empty lines that this leaves; edits the text."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
import pyarrow as pa
from pydantic import Field

from windtunnel.pipelines.filters._rule import Example, Reason, Rule

_BEFORE = r"\s{0,10}"  # white space before an address goes with it, as in DCLM
_EDGE = r"(?-u:\b)"  # of ASCII words: the regex engine is ten times slower where it looks at Unicode's
_REST = r"(?:[^\s<>\"]*[\p{L}\p{N}/=_&#%~+-])?"  # up to the last character that does not belong to the sentence
_SCHEME = rf"{_EDGE}(?:(?i:https?|ftp)://[^\s<>\"]|(?i:www)\.[\p{{L}}\p{{N}}]){_REST}"
_GENERIC = "com|org|net|edu|gov|mil"  # not `info`: code says logger.info
_NATIONAL = r"(?:co|com|org|net|ac|edu|gov)\.[a-z]{2}"
_NAME = r"[\p{L}\p{N}_+%-][\p{L}\p{N}_.+%@-]*\."  # with what stands before it in an e-mail address
_BARE = rf"{_NAME}(?:{_GENERIC}|{_NATIONAL}){_EDGE}(?:[/?#]{_REST})?"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_IP = rf"{_EDGE}(?:{_OCTET}\.){{3}}{_OCTET}{_EDGE}(?::[0-9]{{1,5}})?(?:/{_REST})?"


class WebAddresses(Rule):
    """Cut web and e-mail addresses and IP numbers out of text, then runs of line breaks down to `max_newlines`.

    Source: the first two edits of DCLM's refinedweb pipeline (Li et al. 2024). An address begins with a scheme or with
    `www.`; `bare` names count where they end in a generic domain (com, org, ...) or in one below a country (co.uk).
    DCLM takes every registered domain, of which many are words: "the house.it was" would lose two. `ip` takes four
    numbers to 255, versions such as 1.2.3.4 included. A document of nothing but addresses comes out empty: a rule on
    length drops it. No columns, no reasons.
    """

    bare: bool = True
    ip: bool = True
    max_newlines: int | None = Field(2, ge=1)

    keeps: ClassVar[tuple[Example, ...]] = (
        Example("See https://example.org/a?b=c, or write to jo@example.com."),
        Example(""),
    )

    @property
    def edits(self) -> bool:
        return True

    def reasons(self) -> list[Reason]:
        return []

    def edit(self, batch: pa.RecordBatch) -> tuple[pa.Array, dict[str, int]]:
        frame = pl.DataFrame({"text": pl.Series(batch.column("text").cast(pa.large_string())).fill_null("")})
        pattern = rf"{_BEFORE}(?:{'|'.join(self._patterns())})"
        text = pl.col("text").str.replace_all(pattern, "")
        if self.max_newlines is not None:
            text = text.str.replace_all(rf"\n{{{self.max_newlines + 1},}}", "\n" * self.max_newlines)
        edited = frame.select("text", new=text, addresses=pl.col("text").str.count_matches(pattern))
        rewritten = int(edited["new"].ne_missing(edited["text"]).sum())
        return edited["new"].to_arrow(), {
            "addresses": int(edited["addresses"].sum()),
            "rewritten_documents": rewritten,
        }

    def _patterns(self) -> list[str]:
        return [_SCHEME, *([_IP] if self.ip else []), *([_BARE] if self.bare else [])]
