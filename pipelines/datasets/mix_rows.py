"""Mixes generated sets by weight: as many rows of each as give the wanted shares of answer bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from pydantic import Field

from windtunnel.schemas.artifact import PARQUET, Artifact, canonical_json, write_text, writing
from windtunnel.schemas.role import Role
from windtunnel.schemas.work import Counts, Work


class MixRows(Work):
    """Writes `rows/` with all rows of the scarcest set and of the others what the weights leave room for.

    Inputs: `rows:SET`. Which rows stay is decided by the hash of their ids: smaller shares are subsets of larger ones.
    Memory: ids and sizes of all rows, about 60 bytes a row.
    """

    version: ClassVar[int] = 2
    weights: dict[str, float] = Field(min_length=1)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        total = sum(self.weights.values())
        sets = {name: inputs[Role("rows", name)] for name in self.weights}
        sizes = {name: _sizes(artifact) for name, artifact in sets.items()}
        whole = {name: sum(of_set.values()) for name, of_set in sizes.items()}
        budget = min(whole[name] / (weight / total) for name, weight in self.weights.items())
        counts, domains, repeated = Counts(), [], 0
        for number, (name, weight) in enumerate(sorted(self.weights.items())):
            wanted = _within(sizes[name], budget * weight / total)
            kept = _copy(sets[name], wanted, out / "rows" / f"{number:05d}.parquet")
            rows = sum(pq.read_metadata(file).num_rows for file in sets[name].files("rows"))
            counts.seen += rows
            repeated += rows - len(sizes[name])
            counts.kept += kept
            counts.bytes += sum(sizes[name][row] for row in wanted)
            domains.append({"name": name, "weight": weight / total, "rows": kept, "of": len(sizes[name])})
        dropped = {"over_weight": counts.seen - counts.kept - repeated, "repeated": repeated}
        counts.dropped = {reason: number for reason, number in dropped.items() if number}
        write_text(out / "mix.json", canonical_json({"domains": domains}))
        return counts.check("mix of rows")


def _answer_bytes(messages: list[dict[str, Any]]) -> int:
    return sum(len(m["content"].encode("utf-8", "surrogatepass")) for m in messages if m["role"] == "assistant")


def _sizes(artifact: Artifact) -> dict[str, int]:
    """Return answer bytes by row id; equal ids are equal rows."""
    sizes: dict[str, int] = {}
    for file in artifact.files("rows"):
        table = pq.read_table(file, columns=["id", "messages"])
        for row, messages in zip(table["id"].to_pylist(), table["messages"].to_pylist(), strict=True):
            sizes[row] = _answer_bytes(messages)
    return sizes


def _within(sizes: Mapping[str, int], limit: float) -> set[str]:
    """Return row ids in hash order until their bytes reach the limit; the row that crosses it is in."""
    chosen: set[str] = set()
    used = 0
    for row in sorted(sizes, key=lambda r: blake3(r.encode()).digest()):
        if used >= limit:
            break
        chosen.add(row)
        used += sizes[row]
    return chosen


def _copy(artifact: Artifact, wanted: set[str], path: Path) -> int:
    seen: set[str] = set()
    tables = []
    for file in artifact.files("rows"):
        table = pq.read_table(file)
        mask = []
        for row in table["id"].to_pylist():
            mask.append(row in wanted and row not in seen)
            seen.add(row)
        tables.append(table.filter(pa.array(mask, pa.bool_())))
    whole = pa.concat_tables(tables)
    with writing(path) as partial:
        pq.write_table(whole, partial, **PARQUET)
    return whole.num_rows
