"""The held-out set: its composition, and what was removed from the corpora of the mixes for it."""

from __future__ import annotations

from typing import Any, ClassVar

import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.results import Results, Section, read_json
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record
from windtunnel.trainer.stats.compare import describe


class Slice(Record):
    """The held-out documents of one source and language."""

    source: str
    lang: str
    documents: int
    size: str
    width: float
    share: str
    median: str


class TrainSplit(Record):
    """Documents removed from a corpus because they are held out, or near-duplicates of held-out ones."""

    corpus: str
    seen: int
    kept: int
    same: int
    near: int


class HeldOut(Section):
    """The held-out set."""

    title: ClassVar[str] = "Held-out set"
    order: ClassVar[int] = 60

    description: str
    documents: int
    size: str
    slices: list[Slice]
    drawn: dict[str, int]
    train_splits: list[TrainSplit]

    @classmethod
    def of(cls, results: Results) -> HeldOut | None:
        artifact = results.named("held_out")
        files = artifact.files("documents") if artifact else []
        if artifact is None or not files:
            return None
        notes: dict[str, Any] = read_json(artifact.path / "held_out.json") or {}
        table = (
            pl.scan_parquet(files)
            .group_by("source", "lang")
            .agg(
                pl.len().alias("documents"),
                pl.col("text").str.len_bytes().sum().alias("bytes"),
                pl.col("text").str.len_bytes().median().alias("median"),
            )
            .sort("bytes", "source", "lang", descending=[True, False, False])
            .collect()
        )
        total = int(table["bytes"].sum()) or 1
        slices = [
            Slice(
                source=one_line(row["source"], 40),
                lang=one_line(row["lang"] or "not known", 20),
                documents=row["documents"],
                size=units.size(row["bytes"]),
                width=round(100 * row["bytes"] / total, 3),
                share=units.share(row["bytes"], total),
                median=units.size(row["median"]),
            )
            for row in table.iter_rows(named=True)
        ]
        return cls(
            description=describe(artifact),
            documents=int(table["documents"].sum()),
            size=units.size(total),
            slices=slices,
            drawn={key: int(notes.get(key) or 0) for key in ("drawn", "near_duplicates", "beyond_limit")},
            train_splits=[_train_split(name, a.manifest.counts) for name, a in results.of_kind("train_split").items()],
        )


def _train_split(name: str, counts: dict[str, Any]) -> TrainSplit:
    dropped = counts["dropped"]
    same, near = dropped.get("held_out", 0), dropped.get("near_held_out", 0)
    return TrainSplit(corpus=name, seen=counts["seen"], kept=counts["kept"], same=same, near=near)
