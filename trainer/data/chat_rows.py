"""Conversations and preferences as token ids on disk: encoded once, in batches, and read through memory maps.

A directory contains `tokens.u4`, `target.u1`, `branch.u1` (one entry per token, rows concatenated), `index.parquet`
(one line per row), `dropped.parquet` (id, reason and detail of every dropped row) and, written last, `counts.json`.
Memory is about 80 bytes per row when reading and 100 when writing, independent of row length.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from blake3 import blake3

from windtunnel.schemas import journal
from windtunnel.schemas.artifact import PARQUET, write_text
from windtunnel.schemas.errors import InputError, nearest
from windtunnel.schemas.printable import printable
from windtunnel.schemas.results import EncodedSet
from windtunnel.schemas.work import Counts
from windtunnel.trainer.data.chat_errors import ChatError, mend
from windtunnel.trainer.data.packing import Row
from windtunnel.trainer.data.row_encoders import ENCODERS, EncodedRow, Limits
from windtunnel.trainer.data.stratified import Strata

BATCH = 512
LONG = 1 << 16  # characters of a row
INDEX = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("set", pa.string()),  # of the mix that a row comes from; empty outside of mixes
        pa.field("source", pa.string()),
        pa.field("group", pa.string()),  # shared by rows of one origin; the id of a row without a group
        pa.field("begin", pa.int64()),  # offset of the first token in the flat files
        pa.field("tokens", pa.int32()),
        pa.field("targets", pa.int32()),  # target tokens
        pa.field("bytes", pa.int32()),  # UTF-8 bytes of the target turns' text (of both answers of a preference)
        pa.field("bytes_rejected", pa.int32()),  # of the rejected answer; 0 for a conversation
        pa.field("margin", pa.float64()),  # difference of the ratings, if both are present
        pa.field("desirable", pa.bool_()),  # of a labelled answer
    ]
)
DROPPED = pa.schema([pa.field(name, pa.string()) for name in ("id", "set", "source", "reason", "detail")])
ENCODING = 5  # of rows that are encoded otherwise than before, so that a cache of earlier ones is not read
FLAT = {"tokens": np.dtype("<u4"), "target": np.dtype("u1"), "branch": np.dtype("u1")}


Encode = Callable[[Mapping[str, Any]], EncodedRow]


class AnswerRows(Protocol):
    """Encoded rows of equally many answers each."""

    @property
    def answers(self) -> int: ...
    @property
    def ids(self) -> pa.ChunkedArray: ...
    def __len__(self) -> int: ...
    def __getitem__(self, k: int, /) -> Row: ...
    def digest(self) -> str: ...


class Rows:
    """A finished directory of encoded rows; `sets` chooses those of some sets of a mix, by default all.

    A row that several of these sets hold is one row, of the first of them.
    Raises InputError for a set without rows, with the nearest right name.
    """

    def __init__(self, path: Path, sets: Sequence[str] = ()):
        self.path, self.sets = path, tuple(sets)
        index = pq.read_table(path / "index.parquet")
        if sets:
            known = index["set"].unique().to_pylist()
            if missing := next((name for name in sets if name not in known), None):
                raise InputError(f"no rows are of the set {missing!r} of `sets`: {nearest(missing, known)}")
            index = index.filter(pc.is_in(index["set"], pa.array(sets)))
        index = index.filter(_first_of_each(index["id"]))
        self.counts = Counts.model_validate_json((path / "counts.json").read_bytes())
        self.ids: pa.ChunkedArray = index["id"]
        self.of_sets: pa.ChunkedArray = index["set"]
        self.sources: pa.ChunkedArray = index["source"]
        self.groups: pa.ChunkedArray = index["group"]
        columns = ("begin", "tokens", "targets", "bytes", "bytes_rejected", "margin")
        self.begins, self.lengths, self.targets, self.bytes, self.bytes_rejected, self.margins = (
            index[name].to_numpy() for name in columns
        )
        self.desirable: pa.ChunkedArray = index["desirable"]
        self.keys = row_keys(self.ids)
        names = self.sources.dictionary_encode().combine_chunks()
        labels = [str(name) for name in names.dictionary.to_pylist()]
        source = names.indices.fill_null(len(labels)).to_numpy(zero_copy_only=False)
        self.strata = Strata.by_source_and_length(source.astype(np.int64), [*labels, ""], self.targets)
        self._flat = {name: np.memmap(path / _file(name), dtype=kind, mode="r") for name, kind in FLAT.items()}

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, k: int) -> Row:
        span = slice(int(self.begins[k]), int(self.begins[k] + self.lengths[k]))
        tokens, target, branch = (self._flat[name][span] for name in FLAT)
        return Row(tokens.astype(np.int64), target.astype(bool), np.array(branch))

    @property
    def answers(self) -> int:
        """Answers per row: two of a preference, else one."""
        return max(1, int(self[0].branch[-1]))

    def encoded(self, role: str, stage: str = "") -> list[EncodedSet]:
        """Return what became of the rows, by set and source, for the role that they have in a stage of a run."""
        by = ["set", "source"]
        chosen = pl.col("set").is_in(self.sets) if self.sets else pl.lit(True)
        index = pl.read_parquet(self.path / "index.parquet").filter(chosen)
        first = pl.col("id").is_first_distinct()
        again = index.filter(~first).select(*by, reason=pl.lit("in_an_earlier_set"))
        kept = index.filter(first).group_by(by)
        sums = kept.agg(pl.len().alias("kept"), pl.col("targets").sum().alias("tokens"), pl.col("bytes").sum())
        dropped = pl.read_parquet(self.path / "dropped.parquet", columns=[*by, "reason"]).filter(chosen)
        reasons = pl.concat([dropped, again]).group_by(*by, "reason").len()
        lost: dict[tuple[str, str], dict[str, int]] = {}
        for set_, source, reason, number in reasons.sort(*by, "reason").iter_rows():
            lost.setdefault((set_, source), {})[reason] = number
        found = {(set_, source): numbers for set_, source, *numbers in sums.iter_rows()}
        out = []
        for set_, source in sorted(found.keys() | lost.keys()):
            rows, tokens, size = found.get((set_, source), (0, 0, 0))
            refused = lost.get((set_, source), {})
            most = max(refused, key=refused.__getitem__, default="")  # EncodedSet.commonest
            out.append(
                EncodedSet(
                    role=role, stage=stage, set=set_, source=source, rows=rows + sum(refused.values()), kept=rows,
                    tokens=tokens, bytes=size, refused=refused, mend=mend(most),
                )
            )  # fmt: skip
        return out

    def digest(self) -> str:
        """Return a hash of all tokens, masks and ids in order."""
        digest = blake3()
        for k in range(len(self)):
            row = self[k]
            digest.update(f"{self.ids[k].as_py()}\0{len(row.ids)}\0".encode())
            for part in (row.ids, row.target, row.branch):
                digest.update(part.tobytes())
        return digest.hexdigest()[:32]


def _first_of_each(ids: pa.ChunkedArray) -> pa.Array:
    """Return which ids none before them equals, bool."""
    return pl.Series(pl.from_arrow(ids)).is_first_distinct().to_arrow()


def row_keys(ids: pa.ChunkedArray) -> np.ndarray:
    """Return 64 bits of blake3 per id, uint64, which determine the order of training."""
    keys = (blake3(str(i).encode()).digest(length=8) for batch in ids.chunks for i in batch.to_pylist())
    return np.fromiter((int.from_bytes(key, "little") for key in keys), np.uint64, len(ids))


def encoded_rows(
    kind: str, files: Sequence[Path], encoder: Any, limits: Limits, cache: Path, content: str, encode: Any = None
) -> Rows:
    """Return the encoded rows of Parquet files, from the cache if possible.

    `encode` (encoder, limits, record) is by default that of the kind. `content` identifies the input (the key of its
    artifact); with the encoder's key and the limits it determines the directory in `cache`. Raises InputError if all
    rows are dropped.
    """
    name = blake3(f"{ENCODING}\0{kind}\0{content}\0{encoder.key}\0{tuple(limits)}".encode()).hexdigest()[:16]
    folder = cache / f"{kind}-{name}"
    if not (folder / "counts.json").exists():
        write_rows(kind, files, partial(encode or ENCODERS[kind], encoder, limits), folder)
    counts = Counts.model_validate_json((folder / "counts.json").read_bytes())
    if not counts.kept:
        reasons = ", ".join(f"{reason}: {n}" for reason, n in counts.dropped.items()) or "the input is empty"
        most = max(counts.dropped, key=counts.dropped.__getitem__, default="")
        advice = f"; {mend(most)}" if mend(most) else ""
        raise InputError(f"none of {counts.seen} {kind} can be used for training ({reasons}){advice}")
    return Rows(folder)


def write_rows(kind: str, files: Sequence[Path], encode: Encode, folder: Path) -> Counts:
    """Encode the rows of Parquet files into a new directory, which is renamed into place when complete."""
    building = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    with ExitStack() as stack:
        flats = {name: stack.enter_context(open(building / _file(name), "wb")) for name in FLAT}
        index = stack.enter_context(pq.ParquetWriter(building / "index.parquet", INDEX, **PARQUET))
        dropped = stack.enter_context(pq.ParquetWriter(building / "dropped.parquet", DROPPED, **PARQUET))
        counts = _write_batches(files, encode, flats, index, dropped)
    write_text(building / "counts.json", counts.check(f"encode {kind}").model_dump_json())
    try:
        building.rename(folder)
    except OSError:  # another run has created the same directory
        shutil.rmtree(building)
    else:
        journal.record_all(sorted(folder.iterdir()))
    return counts


def _write_batches(
    files: Sequence[Path], encode: Encode, flats: Mapping[str, Any], index: pq.ParquetWriter, dropped: pq.ParquetWriter
) -> Counts:
    counts, reasons, begin, truncated = Counts(), Counter[str](), 0, 0
    seen_keys: set[bytes] = set()
    refused: dict[bytes, tuple[str, str]] = {}  # long rows: they take seconds, and mixes hold `max_epochs` copies
    for records in _batches(files):
        lines, drops = [], []
        for record in records:
            key = blake3(f"{record.get('set') or ''}\0{record['id']}".encode()).digest(length=8)
            try:
                if key in seen_keys:  # ids key the scores and the order of training; of other sets, see `Rows`
                    raise ChatError("duplicate_id")
                if refused and (before := refused.get(_content(record))):
                    raise ChatError(*before)
                encoded = encode(record)
            except ChatError as error:
                if key not in seen_keys and (content := _content(record)):
                    refused[content] = error.reason, error.detail
                detail = printable(error.detail) or None
                drops.append({**_named(record), "reason": error.reason, "detail": detail})
                continue
            seen_keys.add(key)
            truncated += encoded.truncated
            for name, values in zip(FLAT, encoded.row, strict=True):
                flats[name].write(values.astype(FLAT[name]).tobytes())
            lines.append(_line(record, encoded, begin))
            begin += len(encoded.row.ids)
        index.write_table(pa.Table.from_pylist(lines, INDEX))
        dropped.write_table(pa.Table.from_pylist(drops, DROPPED))
        reasons.update(drop["reason"] for drop in drops)
        counts.seen += len(records)
        counts.kept += len(lines)
        counts.tokens += sum(line["targets"] for line in lines)
        counts.bytes += sum(line["bytes"] for line in lines)
    counts.dropped = dict(sorted(reasons.items()))
    counts.notes = {"truncated": truncated, "tokens_with_prompts": begin}
    return counts


def _content(record: Mapping[str, Any]) -> bytes:
    """Return a hash of all that is encoded of a long row, b"" for a short one."""
    said = {name: value for name, value in record.items() if name not in ("id", "set", "source", "lineage")}
    lists = (said.get(name) or () for name in ("messages", "prompt", "chosen", "rejected"))
    if sum(len(turn["content"]) for turns_ in lists for turn in turns_) < LONG:
        return b""
    return blake3(orjson.dumps(said, default=str, option=orjson.OPT_SORT_KEYS)).digest(length=16)


def _line(record: Mapping[str, Any], encoded: EncodedRow, begin: int) -> dict[str, Any]:
    return {
        **_named(record),
        "group": record.get("group") or record["id"],
        "begin": begin,
        "tokens": len(encoded.row.ids),
        "targets": int(encoded.row.target.sum()),
        "bytes": encoded.bytes,
        "bytes_rejected": encoded.bytes_rejected,
        "margin": encoded.margin,
        "desirable": encoded.desirable,
    }


def _named(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": record["id"], "set": record.get("set") or "", "source": record["source"]}


def _batches(files: Sequence[Path]) -> Iterator[list[dict[str, Any]]]:
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(BATCH):
                    yield batch.to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{path} cannot be read as Parquet ({error}); recreate it") from error


def _file(name: str) -> str:
    return f"{name}.u4" if name == "tokens" else f"{name}.u1"
