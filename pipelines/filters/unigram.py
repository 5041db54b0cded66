"""Mean log-probability of a document's words under word frequencies: low for what is not running text."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pyarrow as pa

from windtunnel.pipelines.filters._rule import Example, Reason, Rule

_COUNTS = {"frequencies": {"the": 500, "of": 300, "river": 2, "bank": 1}}


class Unigram(Rule):
    """Keep documents whose words are frequent enough: mean natural log-probability above `threshold`.

    Source: peS2o, as in datatrove's UnigramLogProbFilter; a word that is not listed has probability 1e-9. frequencies:
    a CSV file with the columns `word` and `count`, or a mapping of words to counts. Words are looked up in lower case
    (ASCII letters). A document without words has 0. Column: `unigram_log_prob`.
    """

    primary: ClassVar[str | None] = "frequencies"
    frequencies: str | dict[str, int]
    threshold: float = -10.0

    keeps: ClassVar[tuple[Example, ...]] = (
        Example("The bank of the river", params=_COUNTS),
        Example("", params=_COUNTS),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example("zx qv the jk wp zz", "unigram_log_prob", params=_COUNTS),
        Example("the bank of the river", "unigram_log_prob", params={**_COUNTS, "threshold": -1}),
    )

    def reads(self) -> list[Path]:
        return [Path(self.frequencies)] if isinstance(self.frequencies, str) else []

    def measure_config(self) -> dict[str, Any]:
        return {"frequencies": self.frequencies}

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        from windtunnel.pipelines.features.unigram import mean_log_probability

        values = mean_log_probability(_small(batch.column("text")), _source(self.frequencies))
        return pl.DataFrame({"unigram_log_prob": values})

    def reasons(self) -> list[Reason]:
        value = pl.col("unigram_log_prob")
        return [Reason("unigram_log_prob", value <= self.threshold, value, self.threshold, "below")]


def _small(text: pa.Array) -> pa.Array:
    """Return the column with capitals beyond ASCII in lower case; the kernel sees to those of ASCII."""
    series = pl.Series("text", text.cast(pa.large_string())).fill_null("")
    rows = series.str.contains(r"[\p{Lu}--A-Z]").arg_true()
    if len(rows):
        series = series.scatter(rows, series.gather(rows).str.replace_many(_capitals()))
    return series.to_arrow().cast(pa.large_string())


@cache
def _capitals() -> dict[str, str]:
    letters = (chr(code) for code in range(0x80, 0x1F000))
    return {letter: letter.lower() for letter in letters if letter.isupper() and letter != letter.lower()}


def _source(frequencies: str | dict[str, int]) -> str | tuple[tuple[str, int], ...]:
    """Return what the table is cached under."""
    return frequencies if isinstance(frequencies, str) else tuple(sorted(frequencies.items()))
