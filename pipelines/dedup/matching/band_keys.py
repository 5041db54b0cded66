"""Files of sorted keys: what every document of a shard is compared by, laid out so that any key range is a slice.

One Arrow IPC file a shard, memory-mapped when read: `key` (u64) sorted within each band, `row` (u32) of the document in
its shard, for exact methods `check` (u64), the other half of a 128-bit hash, for spans `unit` (u32), where one begins.
The schema's metadata says how many bands there are, how many entries a band has and how many rows the shard has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from windtunnel.schemas.artifact import Artifact, writing

FOLDER = "keys"
KEYS_A_TASK = 1 << 22  # sorting takes about 40 bytes a key: some 170 MB a join task, whatever the corpus
TOP = 1 << 64


@dataclass(frozen=True)
class Keys:
    """The keys of one shard: arrays of bands x keyed documents, sorted within each band."""

    key: np.ndarray
    row: np.ndarray
    check: np.ndarray | None
    unit: np.ndarray | None
    documents: int  # rows of the shard, with and without keys

    @property
    def bands(self) -> int:
        return self.key.shape[0]

    def slice(self, band: int, low: int, high: int) -> slice:
        """Return where the keys of a band that lie in [low, high) are."""
        start = int(np.searchsorted(self.key[band], np.uint64(low)))
        end = self.key.shape[1] if high >= TOP else int(np.searchsorted(self.key[band], np.uint64(high)))
        return slice(start, end)


def write(
    path: Path,
    key: np.ndarray,
    row: np.ndarray,
    check: np.ndarray | None,
    documents: int,
    unit: np.ndarray | None = None,
) -> None:
    """Sort each band of `key` (u64, bands x n); write it with `row` (u32, n) and, if given, `check` and `unit` (n)."""
    bands, held = key.shape
    arrays = {"key": np.empty(bands * held, np.uint64), "row": np.empty(bands * held, np.uint32)}
    more = {"check": (check, np.uint64), "unit": (unit, np.uint32)}
    extra = {name: values for name, (values, _) in more.items() if values is not None}
    arrays |= {name: np.empty(bands * held, more[name][1]) for name in extra}
    for band in range(bands):
        order = np.argsort(key[band], kind="stable")
        here = slice(band * held, (band + 1) * held)
        arrays["key"][here], arrays["row"][here] = key[band][order], row[order]
        for name, values in extra.items():
            arrays[name][here] = values[order]
    write_arrays(path, arrays, {"bands": bands, "held": held, "documents": documents})


def read(path: Path) -> Keys:
    """Return the keys of a shard as views of the mapped file."""
    arrays, notes = read_arrays(path)
    shape = (notes["bands"], notes["held"])
    check, unit = (arrays[name].reshape(shape) if name in arrays else None for name in ("check", "unit"))
    return Keys(arrays["key"].reshape(shape), arrays["row"].reshape(shape), check, unit, notes["documents"])


def read_all(artifact: Artifact) -> list[Keys]:
    """Return the mapped keys of all shards of an artifact, in shard order."""
    return [read(path) for path in artifact.files(FOLDER, ".arrow")]


def offsets(keys: list[Keys]) -> np.ndarray:
    """Return the number of the first document of each shard in the whole corpus, and after the last the total."""
    return np.concatenate([[0], np.cumsum([shard.documents for shard in keys], dtype=np.int64)]).astype(np.int64)


def write_arrays(path: Path, arrays: dict[str, np.ndarray], notes: dict[str, int]) -> None:
    """Write equally long arrays as one uncompressed Arrow IPC file with integers in its metadata."""
    table = pa.table(arrays).replace_schema_metadata({key: str(value) for key, value in notes.items()})
    with writing(path) as partial, pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Return (arrays as views of the mapped file, metadata) of what `write_arrays` wrote."""
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    notes = {key.decode(): int(value) for key, value in (table.schema.metadata or {}).items()}
    return {name: _view(table.column(name)) for name in table.column_names}, notes


def _view(column: pa.ChunkedArray) -> np.ndarray:
    if column.num_chunks == 0:
        return np.empty(0, column.type.to_pandas_dtype())
    return np.asarray(column.chunk(0) if column.num_chunks == 1 else column.combine_chunks())
