"""Example documents of every drop reason, with the value that decided: a random sample, the same every time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from windtunnel.pipelines.filters._rule import Reason, reasons_of
from windtunnel.pipelines.report.results import Results
from windtunnel.schemas.printable import one_line, printable
from windtunnel.schemas.records import Record

PER_REASON = 3
CHARACTERS = 420


class Example(Record):
    """A dropped document: its beginning, and the value that decided."""

    id: str
    source: str
    lang: str
    text: str
    decided: str


Key = tuple[str, str]  # step and reason


def examples(results: Results, dropped: Sequence[Path], keys: set[Key]) -> dict[Key, list[Example]]:
    """Return up to three documents of each key, those with the lowest ids: ids are hashes, so they are random.

    Reads the text of the row groups that hold a chosen document, and no other.
    """
    chosen = _choose(dropped, keys)
    limits = Limits(results)
    rows_of: dict[Key, list[Example]] = {}
    for file, rows in chosen.partition_by("file", as_dict=True).items():
        for row in _fetch(dropped[file[0]], rows["row"].to_list()):  # type: ignore[index]
            key = (row["step"], row["reason"])
            example = Example(
                id=row["id"],
                source=one_line(row["source"], 40),
                lang=one_line(row["lang"] or "", 12),
                text=printable(row["text"], CHARACTERS),
                decided=limits.decided(row),
            )
            rows_of.setdefault(key, []).append(example)
    return {key: sorted(group, key=lambda e: e.id) for key, group in rows_of.items()}


def _choose(dropped: Sequence[Path], keys: set[Key]) -> pl.DataFrame:
    """Return step, reason, id, file, row of the chosen documents, in memory for one file at a time."""
    best = pl.DataFrame(schema=_CHOSEN)
    for number, file in enumerate(dropped):
        frame = pl.read_parquet(file, columns=["id", "reason", "step"]).with_row_index("row")
        frame = frame.with_columns(file=pl.lit(number)).select(list(_CHOSEN)).cast(_CHOSEN)  # type: ignore[arg-type]
        best = (
            pl.concat([best, frame])
            .unique(["step", "reason", "id"], keep="first", maintain_order=True)
            .sort("id", maintain_order=True)
            .group_by("step", "reason", maintain_order=True)
            .head(PER_REASON)
            .select(best.columns)
        )
    frame = pl.DataFrame(sorted(keys), schema={"step": pl.String, "reason": pl.String}, orient="row")
    return best.join(frame, on=["step", "reason"], how="semi", nulls_equal=True)


_CHOSEN = {"step": pl.String, "reason": pl.String, "id": pl.String, "file": pl.Int64, "row": pl.Int64}


def _fetch(file: Path, rows: list[int]) -> list[dict[str, Any]]:
    """Return whole rows of a Parquet file by number, reading only the row groups that hold them."""
    records, start = [], 0
    with pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            count = parquet.metadata.row_group(group).num_rows
            here = [row - start for row in rows if start <= row < start + count]
            if here:
                table = parquet.read_row_group(group)
                records += [table.slice(row, 1).to_pylist()[0] for row in here]
            start += count
    return records


class Limits:
    """The measured value that decided on a document: from the expressions of the rules, or from duplicate clusters."""

    def __init__(self, results: Results) -> None:
        self.rules: dict[tuple[str, str], Reason] = {}
        for artifact in results.of_kind("decide").values():
            config = artifact.manifest.config
            for name, reason in reasons_of(config.get("rules") or ()):
                self.rules[config.get("step", ""), name] = reason
        self.clusters = _Clusters(results)

    def decided(self, row: dict[str, Any]) -> str:
        """Return the value and the limit of a dropped row as a phrase; empty when neither was stored."""
        rule = self.rules.get((row["step"], row["reason"]))
        if rule is not None:
            return _compared(rule, row.get("why") or {})
        if row.get("jaccard") is not None:
            return f"similarity {row['jaccard']:.2f} to held-out document {one_line(row['held_out_id'] or '', 8)}"
        return self.clusters.decided(row["reason"], row["id"])


def _compared(rule: Reason, why: dict[str, Any]) -> str:
    frame = pl.DataFrame([{key: value for key, value in why.items() if value is not None}])
    value = rule.drop if rule.value is None else rule.value
    if not set(value.meta.root_names()) <= set(frame.columns):
        return ""
    measured = frame.select(value.alias("value")).item()
    if rule.limit is None:
        return f"measured: {one_line(measured, 40)}" if rule.value is not None else ""
    text = f"{measured:.3g}" if isinstance(measured, float) else one_line(measured, 40)
    if text == f"{rule.limit:g}":  # three digits do not show the side of the limit
        text = f"{measured:.6g}"
    return f"measured {text}, {rule.side} the limit of {rule.limit:g}"


class _Clusters:
    """Clusters of duplicates by document id, opened at the first look-up of a reason."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.frames: dict[str, list[pl.LazyFrame]] = {}

    def decided(self, reason: str, document: str) -> str:
        for frame in self._of(reason):
            member = frame.filter(pl.col("id") == document).head(1).collect()
            if member.height:
                size, cluster = member["size"][0], member["cluster"][0]
                winner = frame.filter((pl.col("cluster") == cluster) & pl.col("kept")).select("id").head(1).collect()
                stays = f"; {winner['id'][0][:8]} stays" if winner.height else "; all are in the index"
                return f"one of {size:,} that are alike{stays}"
        return ""

    def _of(self, reason: str) -> list[pl.LazyFrame]:
        if reason not in self.frames:
            files = [artifact.files("clusters") for artifact in self.results.of_kind(reason).values()]
            self.frames[reason] = [pl.scan_parquet(f) for f in files if f]
        return self.frames[reason]
