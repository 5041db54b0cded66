"""Tables of word frequencies: a word and its count a line, between them a tab or a comma."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from windtunnel.schemas.errors import InputError

_SHAPE = "give lines of a word and its count with a tab or a comma between, or a header with the columns word and count"


def word_counts(path: str | Path) -> list[tuple[str, int]]:
    """Return (word, count) of every line; a header line may name the columns and their order.

    In a table with commas, words may stand in double quotes. Raises InputError for a file that is not there or no such
    table, and for a count that is no whole number above 0.
    """
    frame = _read(Path(path))
    names = frame.columns[:2]
    if {"word", "count"} <= set(row := frame.row(0)):
        names = [frame.columns[row.index("word")], frame.columns[row.index("count")]]
        frame = frame.slice(1)
    table = frame.select(word=names[0], count=pl.col(names[1]).str.strip_chars().cast(pl.Int64, strict=False))
    wrong = table.filter(pl.col("count").is_null() | (pl.col("count") <= 0))
    if wrong.height or not table.height:
        what = f"the count of {wrong.row(0)[0]!r} is no whole number above 0" if wrong.height else "it has no words"
        raise InputError(f"{path} is no table of word frequencies, {what}: {_SHAPE}")
    return table.drop_nulls().rows()


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"no table of word frequencies at {path}: {_SHAPE}")
    with path.open("rb") as file:
        first = file.readline(1 << 16)
    if b"\x00" in first or first.lstrip().startswith(b"<!") or not (b"\t" in first or b"," in first):
        raise InputError(f"{path} is no table of word frequencies: {_SHAPE}")
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
        raise InputError(f"{path} is no table of word frequencies ({str(error).splitlines()[0]}): {_SHAPE}") from error
