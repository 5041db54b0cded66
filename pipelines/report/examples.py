"""Example documents of every drop reason, with the value that decided: a random few, the same ones every time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from windtunnel.pipelines.filters._rule import Reason, reasons_of
from windtunnel.pipelines.report.made import Made, shown
from windtunnel.pipelines.report.printable import printable
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import Record

PER_REASON = 3
CHARACTERS = 420


class Example(Record):
    """A dropped document: what it begins with, and why it went."""

    id: str
    source: str
    lang: str
    text: str
    decided: str


def examples(made: Made, dropped: Sequence[Path], wanted: set[tuple[str, str]]) -> dict[tuple[str, str], list[Example]]:
    """Return up to three documents of each (step, reason).

    Documents with the lowest ids are taken: ids are hashes, so that is a random draw that comes out the same each
    time. Reads the text of the row groups that hold a chosen document, and no other.
    """
    chosen = _choose(dropped, wanted)
    limits = Limits(made)
    found: dict[tuple[str, str], list[Example]] = {}
    for file, rows in chosen.partition_by("file", as_dict=True).items():
        for row in _fetch(dropped[file[0]], rows["row"].to_list()):  # type: ignore[index]
            key = (row["step"], row["reason"])
            example = Example(
                id=row["id"],
                source=shown(row["source"], 40),
                lang=shown(row["lang"] or "", 12),
                text=printable(row["text"], CHARACTERS),
                decided=limits.decided(row),
            )
            found.setdefault(key, []).append(example)
    return {key: sorted(group, key=lambda e: e.id) for key, group in found.items()}


def _choose(dropped: Sequence[Path], wanted: set[tuple[str, str]]) -> pl.DataFrame:
    """Return file, row, step, reason, id of the chosen documents; holds no more than three a reason."""
    best = pl.DataFrame(
        schema={"step": pl.String, "reason": pl.String, "id": pl.String, "file": pl.Int64, "row": pl.Int64}
    )
    for number, file in enumerate(dropped):
        frame = pl.read_parquet(file, columns=["id", "reason", "step"]).with_row_index("row")
        frame = frame.select(
            "step", "reason", "id", pl.lit(number, pl.Int64).alias("file"), pl.col("row").cast(pl.Int64)
        )
        best = (
            pl.concat([best, frame])
            .unique(["step", "reason", "id"], keep="first", maintain_order=True)
            .sort("id", maintain_order=True)
            .group_by("step", "reason", maintain_order=True)
            .head(PER_REASON)
            .select(best.columns)
        )
    keys = pl.DataFrame(sorted(wanted), schema={"step": pl.String, "reason": pl.String}, orient="row")
    return best.join(keys, on=["step", "reason"], how="semi", nulls_equal=True)


def _fetch(file: Path, rows: list[int]) -> list[dict[str, Any]]:
    """Return whole rows of a Parquet file by number, reading only the row groups they lie in."""
    found, start = [], 0
    with pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            count = parquet.metadata.row_group(group).num_rows
            here = [row - start for row in rows if start <= row < start + count]
            if here:
                table = parquet.read_row_group(group)
                found += [table.slice(row, 1).to_pylist()[0] for row in here]
            start += count
    return found


class Limits:
    """Says which measured value decided: from the rules' own expressions, and from the clusters of duplicates."""

    def __init__(self, made: Made) -> None:
        self.rules: dict[tuple[str, str], Reason] = {}
        for artifact in made.of_kind("decide").values():
            config = artifact.manifest.config
            for name, reason in reasons_of(config.get("rules") or ()):
                self.rules[config.get("step", ""), name] = reason
        self.clusters = _Clusters(made)

    def decided(self, row: dict[str, Any]) -> str:
        """Return the value and the limit of a dropped row in words; empty when neither was kept."""
        rule = self.rules.get((row["step"], row["reason"]))
        if rule is not None:
            return _compared(rule, row.get("why") or {})
        if row.get("jaccard") is not None:
            return f"similarity {row['jaccard']:.2f} to held-out document {shown(row['held_out_id'] or '', 8)}"
        return self.clusters.decided(row["reason"], row["id"])


def _compared(rule: Reason, why: dict[str, Any]) -> str:
    frame = pl.DataFrame([{key: value for key, value in why.items() if value is not None}])
    value = rule.drop if rule.value is None else rule.value
    if not set(value.meta.root_names()) <= set(frame.columns):
        return ""
    measured = frame.select(value.alias("value")).item()
    if rule.limit is None:
        return f"measured: {shown(measured, 40)}" if rule.value is not None else ""
    text = f"{measured:.3g}" if isinstance(measured, float) else shown(measured, 40)
    if text == f"{rule.limit:g}":  # so near the limit that three digits do not show the side
        text = f"{measured:.6g}"
    return f"measured {text}, {rule.side} the limit of {rule.limit:g}"


class _Clusters:
    """Clusters of duplicates by document id, read when first asked for; one row a clustered document of a reason."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self.frames: dict[str, list[pl.LazyFrame]] = {}

    def decided(self, reason: str, document: str) -> str:
        for frame in self._of(reason):
            own = frame.filter(pl.col("id") == document).head(1).collect()
            if own.height:
                size, cluster = own["size"][0], own["cluster"][0]
                winner = frame.filter((pl.col("cluster") == cluster) & pl.col("kept")).select("id").head(1).collect()
                stays = f"; {winner['id'][0][:8]} stays" if winner.height else "; all are in the index"
                return f"one of {size:,} that are alike{stays}"
        return ""

    def _of(self, reason: str) -> list[pl.LazyFrame]:
        if reason not in self.frames:
            artifacts: list[Artifact] = list(self.made.of_kind(reason).values())
            files = [a.files("clusters") for a in artifacts]
            self.frames[reason] = [pl.scan_parquet(f) for f in files if f]
        return self.frames[reason]
