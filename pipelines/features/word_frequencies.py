"""Tables of word frequencies: one word and its count per line, separated by a tab or a comma."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from windtunnel.schemas.errors import InputError

_SHAPE = "give one word and its count per line, separated by a tab or a comma, with an optional header word, count"


def word_counts(path: str | Path) -> list[tuple[str, int]]:
    """Return (word, count) of every line; a header line may give the names and order of the columns.

    In a table with commas, words may be quoted. Raises InputError for a missing file, another format, or a count that
    is not a positive integer.
    """
    frame = _read(Path(path))
    names = frame.columns[:2]
    if {"word", "count"} <= set(row := frame.row(0)):
        names = [frame.columns[row.index("word")], frame.columns[row.index("count")]]
        frame = frame.slice(1)
    table = frame.select(word=names[0], count=pl.col(names[1]).str.strip_chars().cast(pl.Int64, strict=False))
    wrong = table.filter(pl.col("count").is_null() | (pl.col("count") <= 0))
    if wrong.height or not table.height:
        problem = f"the count of {wrong.row(0)[0]!r} is not a positive integer" if wrong.height else "it has no words"
        raise InputError(f"{path} is not a table of word frequencies, {problem}: {_SHAPE}")
    return table.drop_nulls().rows()


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"no table of word frequencies at {path}: {_SHAPE}")
    with path.open("rb") as file:
        first = file.readline(1 << 16)
    if b"\x00" in first or first.lstrip().startswith(b"<!") or not (b"\t" in first or b"," in first):
        raise InputError(f"{path} is not a table of word frequencies: {_SHAPE}")
    tabs = b"\t" in first
    try:
        return pl.read_csv(
            path,
            has_header=False,
            separator="\t" if tabs else ",",
            quote_char=None if tabs else '"',
            infer_schema=False,
        )
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"{path} is not a table of word frequencies ({str(error).splitlines()[0]}): {_SHAPE}"
        ) from error
