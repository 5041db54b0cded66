"""Drops documents with too many exclamation marks.

In a recipe: `corpora: {NAME: {from: OTHER, rules: [./new_part.py:NewPart]}}`
On files: `windtunnel filter IN OUT --rules ./new_part.py:NewPart`
"""

from __future__ import annotations

from typing import ClassVar

import polars as pl
import pyarrow as pa
from pydantic import Field

from windtunnel.pipelines.filters._rule import Example, Reason, Rule, above


class NewPart(Rule):
    """Drop documents with more than `max_marks` exclamation marks; a limit of null is switched off."""

    version: ClassVar[int] = 1  # raise it whenever the same parameters give other results
    primary: ClassVar[str | None] = "max_marks"  # `{./new_part.py:NewPart: 3}` sets this parameter
    max_marks: int | None = Field(5, ge=0)  # of the whole document

    # Documents that the rule keeps and drops: `windtunnel check rule ./new_part.py:NewPart` runs them.
    keeps: ClassVar[tuple[Example, ...]] = (Example("Look out!"), Example("!" * 9, params={"max_marks": None}))
    drops: ClassVar[tuple[Example, ...]] = (Example("Now!" * 6, "too_many_marks"),)

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        """Return the rule's own columns, one row a document; leave it out where the shared columns do."""
        texts = pl.Series("text", batch.column("text"), dtype=pl.String)
        return pl.DataFrame({"exclamation_marks": texts.str.count_matches("!", literal=True)})

    def reasons(self) -> list[Reason]:
        """Return the reasons in the order in which they are asked; the first true one decides."""
        return above("too_many_marks", pl.col("exclamation_marks"), self.max_marks)

    # A rule that rewrites text has these two as well. It may return no reasons, and then needs no `measure`; the rules
    # behind it in the list measure the new text. In `keeps`: Example("Stop!!!", becomes="Stop!").
    #
    # @property
    # def edits(self) -> bool:
    #     return True
    #
    # def edit(self, batch: pa.RecordBatch) -> tuple[pa.Array, dict[str, int]]:
    #     """Return the new texts, one for each document of `batch`, and counts for the report."""
    #     texts = pl.Series("text", batch.column("text"), dtype=pl.String)
    #     new = texts.str.replace_all("!+", "!")
    #     return new.to_arrow(), {"rewritten_documents": int((new != texts).sum())}
