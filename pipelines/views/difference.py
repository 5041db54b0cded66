"""The difference of two corpora: which documents went, came and were rewritten, by rule, source and host."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.shards.reader import batches
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.errors import InputError

PARTS = 64  # of the ids by their hash: each is joined in memory by itself
ROWS = 4096
NOT_THERE = "not among its documents"
_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?:www\.)?([^/?#:]+)"
_NOTES = ("id", "source", "host", "bytes", "content", "reason", "kept")


@dataclass(frozen=True)
class Difference:
    """What differs between corpora a and b.

    changes: one row a (change, reason, source): `went` is kept in a and not in b, `came` the other way, `rewritten` in
    both with other text; columns documents, bytes (of text; for rewritten: of b) and bytes_before. The reason is b's
    for what went and a's for what came. sources and hosts: one row a value and corpus, with documents and bytes.
    histograms: documents and bytes by corpus, group (`source` or `host`), value and `from_bytes`, the power of two
    that a text's bytes reach. totals: kept documents and bytes of each corpus.
    """

    changes: pl.DataFrame
    sources: pl.DataFrame
    hosts: pl.DataFrame
    histograms: pl.DataFrame
    totals: pl.DataFrame

    def write(self, out: Path) -> list[Path]:
        """Write every table as `NAME.parquet` into a directory and return the paths."""
        paths = []
        for name in ("changes", "sources", "hosts", "histograms", "totals"):
            with writing(out / f"{name}.parquet") as partial:
                getattr(self, name).write_parquet(partial)
            paths.append(out / f"{name}.parquet")
        return paths


def difference(a: Path, b: Path) -> Difference:
    """Compare two corpus artifacts, documents by id; the same id kept twice counts twice.

    Memory: notes of about 100 bytes on a 64th of the documents of both, and the tables themselves, which grow with the
    number of hosts. The notes lie in a temporary directory meanwhile, about 60 bytes a document. Raises InputError for
    a directory that holds no corpus.
    """
    corpora = {"a": _corpus(a), "b": _corpus(b)}
    with tempfile.TemporaryDirectory(prefix="windtunnel-diff-") as scratch:
        for side, corpus in corpora.items():
            _spool(corpus, Path(scratch) / side)
        changes, sizes = [], []
        for part in range(PARTS):
            notes = {side: pl.read_parquet(Path(scratch) / side / f"{part}.parquet") for side in corpora}
            changes.append(_changes(notes["a"], notes["b"]))
            sizes += [_sizes(frame, side) for side, frame in notes.items()]
            if len(sizes) > 2 * 8:
                changes, sizes = [_summed(changes)], [_summed(sizes)]
        return _tables(_summed(changes), _summed(sizes))


def _corpus(path: Path) -> Artifact:
    corpus = Artifact(path)
    if corpus.done:
        corpus.intact("kept", "dropped")
    if not corpus.files("kept"):
        raise InputError(f"{path} holds no corpus: a diff takes two directories of corpus steps, with kept/ in them")
    for file in [*corpus.files("kept"), *corpus.files("dropped")]:
        try:
            names = pq.read_schema(file).names
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{file} is not a whole Parquet file ({str(error)[:120]}): make it anew") from error
        missing = [name for name in ("id", "text") if name not in names]
        if missing:
            raise InputError(
                f"{file} has no column {missing[0]!r}: a diff compares the texts of documents by their id; give files "
                "an `id` and a `text` of their own before they are filtered, or make corpora of them in a recipe"
            )
    return corpus


def _spool(corpus: Artifact, out: Path) -> None:
    """Write what the comparison needs of each document into one file a part; text is read once."""
    out.mkdir()
    with ExitStack() as stack:
        writers: list[pq.ParquetWriter] = []
        for frame in _notes(corpus):
            parts = frame.select(*_NOTES, part=pl.col("id").hash(0) % PARTS).partition_by("part", as_dict=True)
            for number in range(PARTS):
                rows = parts.get((number,))
                table = (frame.head(0).select(_NOTES) if rows is None else rows.select(_NOTES)).to_arrow()
                if len(writers) == number:
                    writers.append(stack.enter_context(pq.ParquetWriter(out / f"{number}.parquet", table.schema)))
                if rows is not None:
                    writers[number].write_table(table)


def _notes(corpus: Artifact) -> Iterator[pl.DataFrame]:
    for folder in ("kept", "dropped"):
        for path in corpus.files(folder):
            names = pq.read_schema(path).names
            known = ["id", "source", "url", "text", *(["reason"] if folder == "dropped" else [])]
            absent = [name for name in known if name not in names]  # users' own files may have no source
            for batch in batches(path, [name for name in known if name in names], ROWS):
                frame = pl.DataFrame(batch).with_columns(pl.lit(None, pl.String).alias(name) for name in absent)
                yield frame.select(
                    pl.col("id").cast(pl.String),
                    pl.col("source").cast(pl.String),
                    host=pl.col("url").cast(pl.String).str.extract(_HOST).str.to_lowercase(),
                    bytes=pl.col("text").str.len_bytes().cast(pl.Int64),
                    content=pl.col("text").hash(0),
                    reason=pl.col("reason").cast(pl.String) if folder == "dropped" else pl.lit(None, pl.String),
                    kept=pl.lit(folder == "kept"),
                )


def _numbered(frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Return the frame with `copy`: 0 for the first row of its values in `columns`, 1 for the next, ..."""
    return frame.with_columns(copy=pl.int_range(pl.len()).over(*columns))


def _changes(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    kept = {"a": _numbered(a.filter("kept"), "id"), "b": _numbered(b.filter("kept"), "id")}
    dropped = {"a": a.filter(~pl.col("kept")), "b": b.filter(~pl.col("kept"))}
    both = kept["a"].join(kept["b"], on=["id", "copy"], suffix="_b").filter(pl.col("content") != pl.col("content_b"))
    rewritten = both.select(
        "source", reason=pl.lit(None, pl.String), before="bytes", after="bytes_b", change=pl.lit("rewritten")
    )
    rows = [
        _only_here(kept["a"], kept["b"], dropped["a"], dropped["b"], "went"),
        _only_here(kept["b"], kept["a"], dropped["b"], dropped["a"], "came"),
        rewritten,
    ]
    return pl.concat([row.select(_CHANGE) for row in rows]).group_by("change", "reason", "source").agg(
        documents=pl.len().cast(pl.Int64), bytes=pl.col("after").sum(), bytes_before=pl.col("before").sum()
    )  # fmt: skip


_CHANGE = ("change", "reason", "source", "before", "after")


def _only_here(
    kept: pl.DataFrame, other: pl.DataFrame, dropped: pl.DataFrame, other_dropped: pl.DataFrame, change: str
) -> pl.DataFrame:
    """Return the rows kept here and not there, with the reason there; copies dropped on both sides explain nothing."""
    only = _numbered(kept.join(other, on=["id", "copy"], how="anti"), "id")
    before = _numbered(dropped.select("id", "reason"), "id", "reason")
    fresh = _numbered(other_dropped.select("id", "reason"), "id", "reason").join(
        before, on=["id", "reason", "copy"], how="anti", nulls_equal=True
    )
    why = _numbered(fresh.select("id", there="reason"), "id")
    explained = only.join(why, on=["id", "copy"], how="left")
    return explained.select(
        "source",
        reason=pl.col("there").fill_null(NOT_THERE),
        before="bytes",
        after="bytes",
        change=pl.lit(change),
    )


def _sizes(notes: pl.DataFrame, side: str) -> pl.DataFrame:
    power = pl.when(pl.col("bytes") > 0).then(2 ** (pl.col("bytes").log(2) + 1e-9).floor()).otherwise(0)
    keys = ["corpus", "source", "host", "from_bytes"]
    frame = notes.filter("kept").with_columns(corpus=pl.lit(side), from_bytes=power.cast(pl.Int64))
    return frame.group_by(keys).agg(documents=pl.len().cast(pl.Int64), bytes=pl.col("bytes").sum())


def _summed(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Return the frames as one, rows of the same keys added up, sorted."""
    whole = pl.concat(frames)
    numbers = [name for name in ("documents", "bytes", "bytes_before") if name in whole.columns]
    keys = [name for name in whole.columns if name not in numbers]
    return whole.group_by(keys).agg(pl.col(numbers).sum()).sort(keys)


def _tables(changes: pl.DataFrame, sizes: pl.DataFrame) -> Difference:
    def by(*keys: str) -> pl.DataFrame:
        return sizes.group_by(keys).agg(pl.col("documents", "bytes").sum()).sort(keys)

    groups = [
        by("corpus", name, "from_bytes").select(
            "corpus", pl.lit(name).alias("group"), pl.col(name).alias("value"), "from_bytes", "documents", "bytes"
        )
        for name in ("source", "host")
    ]
    return Difference(changes, by("corpus", "source"), by("corpus", "host"), pl.concat(groups), by("corpus"))
