"""Mixes sets of rows by weight: as many rows of each as give the wanted shares of tokens, bytes or rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from pydantic import Field

from windtunnel.pipelines.shards.writer import shard_writer
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import COPY
from windtunnel.schemas.role import Role
from windtunnel.schemas.work import Counts, Work

SET = pa.field("set", pa.string(), nullable=False)
ANSWERS = ("messages", "chosen", "rejected")
BATCH = 1024


class MixRows(Work):
    """Writes `rows/`, with the set of each row in the column `set`, and `mix.json`: what each set gives.

    `by`: bytes of answers, rows, or target tokens (tokens of answers and one for each one's end, by the tokenizer of
    the input `tokenizer`). `total`: how much of that; by default all that the weights allow. A row is in the mix up to
    `max_epochs` times, its copies with the ids `ID~2`, `ID~3`, ... Which rows stay is decided by the hash of their ids:
    smaller shares are subsets of larger ones. Inputs: `rows:SET`. Memory: ids and sizes of all rows, about 60 bytes a
    row. Raises InputError for a total that the sets cannot give.
    """

    version: ClassVar[int] = 3
    weights: dict[str, float] = Field(min_length=1)
    by: Literal["bytes", "rows", "tokens"] = "bytes"
    total: int | None = Field(default=None, gt=0)
    max_epochs: int = Field(default=1, ge=1)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        of_all = sum(self.weights.values())
        shares = {name: weight / of_all for name, weight in self.weights.items()}
        sets = {name: inputs[Role("rows", name)] for name in self.weights}
        sizes = {name: _sizes(artifact, self._measure(inputs)) for name, artifact in sets.items()}
        for name, of_set in sizes.items():
            if not any(of_set.values()):
                counts = sets[name].manifest.counts if sets[name].done else None
                raise InputError(f"no row of {name!r} is left to train on{_why_empty(counts, len(of_set))}")
        total = self._total(shares, {name: sum(of_set.values()) for name, of_set in sizes.items()})
        counts, domains, repeated = Counts(), [], 0
        for number, name in enumerate(sorted(self.weights)):
            copies = _copies(sizes[name], total * shares[name])
            rows = sum(pq.read_metadata(file).num_rows for file in sets[name].files("rows"))
            counts.bytes += _copy(sets[name], name, copies, out, number)
            counts.seen += rows
            counts.kept += len(copies)
            repeated += rows - len(sizes[name])
            amount = sum(sizes[name][row] * times for row, times in copies.items())
            domains.append(
                {
                    "name": name, "weight": shares[name], "rows": len(copies), "of": len(sizes[name]),
                    "copies": sum(copies.values()), "amount": amount,
                }
            )  # fmt: skip
        dropped = {"over_weight": counts.seen - counts.kept - repeated, "repeated": repeated}
        counts.dropped = {reason: number for reason, number in dropped.items() if number}
        write_text(out / "mix.json", canonical_json({"by": self.by, "domains": domains}))
        return counts.check("mix of rows")

    def _total(self, shares: Mapping[str, float], whole: Mapping[str, int]) -> float:
        """Return how much the mix holds of all sets together."""
        most, scarcest = min((whole[name] * self.max_epochs / share, name) for name, share in shares.items())
        if self.total is not None and self.total > most:
            raise InputError(
                f"a mix of {self.total:,} {self.by} needs more of {scarcest!r} than it has ({whole[scarcest]:,}): "
                f"raise `row_mixes.max_epochs`, or lower `row_mixes.total` to {math.floor(most):,}"
            )
        return most if self.total is None else self.total

    def _measure(self, inputs: Mapping[str, Artifact]) -> Any:
        """Return the function that measures the answers of some rows."""
        if self.by == "rows":
            return lambda rows: [1] * len(rows)
        if self.by == "bytes":
            return lambda rows: [sum(len(answer.encode("utf-8", "surrogatepass")) for answer in row) for row in rows]
        from windtunnel.trainer.modules.export import open_tokenizer_alone

        folders = (inputs["tokenizer"].path / name for name in ("model", "tokenizer"))  # with a model, or alone
        backend = open_tokenizer_alone(next(folder for folder in folders if folder.is_dir())).backend_tokenizer
        return lambda rows: [_tokens(backend, row) for row in rows]


def _why_empty(counts: Mapping[str, Any] | None, rows: int) -> str:
    """Return in words why a set gives nothing to train on, by the counts of the step that kept held-out rows apart."""
    if rows:
        return f": none of its {rows:,} rows has an answer"
    if counts and counts.get("dropped"):
        told = ", ".join(f"{reason} {number:,}" for reason, number in counts["dropped"].items())
        return f": what is held out, or near to it, takes all of them ({told})"
    return ": its own steps have left none; `windtunnel show` of their directories says what dropped them"


def _tokens(backend: Any, answers: list[str]) -> int:
    texts = [answer.encode("utf-8", "replace").decode() for answer in answers]
    return sum(len(encoding.ids) + 1 for encoding in backend.encode_batch(texts, add_special_tokens=False))


def _answers(table: pa.Table | pa.RecordBatch) -> list[list[str]]:
    columns = [table[name].to_pylist() for name in ANSWERS if name in table.schema.names]
    return [
        [turn["content"] for turns in row for turn in turns if turn["role"] == "assistant"]
        for row in zip(*columns, strict=True)
    ]


def _sizes(artifact: Artifact, measure: Any) -> dict[str, int]:
    """Return the size of each row by its id; equal ids are equal rows."""
    return {
        row: size
        for batch in _batches(artifact, ["id", *ANSWERS])
        for row, size in zip(batch["id"].to_pylist(), measure(_answers(batch)), strict=True)
    }


def _copies(sizes: Mapping[str, int], wanted: float) -> dict[str, int]:
    """Return how often each row is taken, in hash order until the size is reached; the row that crosses it is in."""
    whole = sum(sizes.values())
    epochs = int(wanted // whole)
    copies = dict.fromkeys(sizes, epochs) if epochs else {}
    left = wanted - epochs * whole
    for row in sorted(sizes, key=lambda row: blake3(row.encode()).digest()):
        if left <= 1e-9 * wanted:  # a rest of rounding is no row
            break
        copies[row] = epochs + 1
        left -= sizes[row]
    return copies


def _copy(artifact: Artifact, name: str, copies: Mapping[str, int], out: Path, number: int) -> int:
    """Write the wanted rows of a set, each once and then the copies, pass after pass; return bytes of answers."""
    schema = pq.read_schema(artifact.files("rows")[0]).append(SET)
    size = 0
    with shard_writer(out, "rows", number, schema) as writer:
        for epoch in range(1, max(copies.values(), default=0) + 1):
            seen: set[str] = set()
            for batch in _batches(artifact):
                ids = batch["id"].to_pylist()
                taken = [copies.get(row, 0) >= epoch and row not in seen and not seen.add(row) for row in ids]
                rows = batch.append_column(SET, pa.array([name] * len(ids), pa.string())).filter(pa.array(taken))
                if epoch > 1:
                    again = [f"{row}{COPY}{epoch}" for row in rows["id"].to_pylist()]
                    place = rows.schema.get_field_index("id")
                    rows = rows.set_column(place, schema.field(place), pa.array(again, pa.string()))
                writer.write_batch(rows.cast(schema))
                size += sum(len(text.encode("utf-8", "surrogatepass")) for row in _answers(rows) for text in row)
    return size


def _batches(artifact: Artifact, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    for path in artifact.files("rows"):
        with pq.ParquetFile(path) as file:
            names = [name for name in columns if name in file.schema_arrow.names] if columns else None
            yield from file.iter_batches(BATCH, columns=names)
