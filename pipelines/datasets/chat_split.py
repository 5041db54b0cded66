"""Splits generated rows into a held-out part and a training part, by what they come from and by nothing else.

A row is held out when the hash of its group falls below the share: no state, no order, and rows of one instruction,
passage or prompt go to the same side in every set, with whatever is made from them (`generators.text.groups`). A row
that is made from parents of several groups is on a side only if all of them are, and on neither otherwise: so rows that
share a parent are never on different sides, whatever else they are made from. Two rows of different groups may still
ask the same thing by chance; the training part leaves such rows out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from pydantic import Field

from windtunnel.generators.text.groups import first_question, groups_of, text_group
from windtunnel.schemas.artifact import PARQUET, Artifact, writing
from windtunnel.schemas.role import of_kind
from windtunnel.schemas.work import Counts, Work

GROUP = pa.field("group", pa.string(), nullable=False)
HELD_OUT = "held_out"


class ChatSplit(Work):
    """Writes one side of the split to `rows/`, with the column `group` (the first one of a row that has several).

    Inputs: generated sets, `rows` or `rows:SET`, in the order of their roles; for the training side also what is held
    out, `held_out` and `held_out:SET`: no row stays that asks what a row there asks. Memory: about 200 bytes for each
    row held out.
    """

    version: ClassVar[int] = 2
    side: Literal["held_out", "train"]
    share: float = Field(0.1, gt=0, lt=1)
    salt: str = ""

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(rows_files(inputs))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts, dropped, measured = Counts(), Counter[str](), self._measured(inputs)
        with pq.ParquetFile(rows_files(inputs)[rank]) as source, writing(out / "rows" / f"{rank:05d}.parquet") as path:
            schema = source.schema_arrow.append(GROUP)
            with pq.ParquetWriter(path, schema, **PARQUET) as writer:
                for batch in source.iter_batches(batch_size=1024):
                    rows = list(_origins(batch))
                    groups = [groups_of(row) for row in rows]
                    reasons = [self._reason(row, names, measured) for row, names in zip(rows, groups, strict=True)]
                    whole = pa.record_batch([*batch.columns, pa.array(map(min, groups), GROUP.type)], schema=schema)
                    writer.write_batch(whole.filter(pa.array([reason is None for reason in reasons], pa.bool_())))
                    dropped.update(reason for reason in reasons if reason is not None)
                    counts.seen += batch.num_rows
                    counts.kept += reasons.count(None)
        counts.dropped = dict(sorted(dropped.items()))
        return counts.check(f"{self.side} rows, shard {rank}")

    def _reason(self, row: Mapping[str, Any], groups: Sequence[str], measured: set[str]) -> str | None:
        """Return why a row is not on this side, or None."""
        sides = {"held_out" if self._held(group) else "train" for group in groups}
        if len(sides) > 1:
            return "groups_on_both_sides"
        if sides != {self.side}:
            return sides.pop()
        return "asked_in_held_out" if not measured.isdisjoint({*groups, _asks(row, groups)}) else None

    def _held(self, group: str) -> bool:
        digest = blake3(f"{self.salt}\x00{group}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64

    def _measured(self, inputs: Mapping[str, Artifact]) -> set[str]:
        """Return groups and questions of all held-out rows."""
        measured: set[str] = set()
        for file in rows_files(inputs, HELD_OUT):
            with pq.ParquetFile(file) as source:
                for batch in source.iter_batches(batch_size=1024, columns=_columns(source.schema_arrow.names)):
                    for row in _origins(batch):
                        groups = groups_of(row)
                        measured |= {*groups, _asks(row, groups)}
        return measured


def rows_files(inputs: Mapping[str, Artifact], kind: str = "rows") -> list[Path]:
    """Return the files in `rows/` of the inputs `KIND` and `KIND:SET`, in the order of the roles' names."""
    return [file for _, artifact in sorted(of_kind(inputs, kind).items()) for file in artifact.files("rows")]


def _asks(row: Mapping[str, Any], groups: Sequence[str]) -> str:
    """Return the group that a row's first question alone would have; the row's own where it asks nothing."""
    asked = first_question(row)
    return text_group(asked) if asked else groups[0]


def _origins(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield what says where rows come from: id, first turns, lineage."""
    yield from batch.select(_columns(batch.schema.names)).to_pylist()


def _columns(names: Sequence[str]) -> list[str]:
    return [name for name in ("id", "messages", "prompt", "lineage") if name in names]
