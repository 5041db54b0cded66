"""Joins equal keys of all shards into edges between documents, by ranges of keys: no task reads all keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from windtunnel.pipelines.dedup.matching.band_keys import KEYS_A_TASK, TOP, Keys, offsets, read, read_all, write_arrays
from windtunnel.pipelines.dedup.matching.key_index import as_folders, key_files
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.work import Counts, Work


@dataclass(frozen=True)
class Range:
    """The keys of one band and range from all shards, sorted by key, then check, document and unit."""

    band: int
    low: int
    high: int
    key: np.ndarray
    check: np.ndarray | None
    document: np.ndarray  # number in the whole corpus
    unit: np.ndarray | None

    @property
    def repeats(self) -> np.ndarray:
        """Return a bool a key: it equals the key before it."""
        same = np.zeros(len(self.key), bool)
        same[1:] = self.key[1:] == self.key[:-1]
        if self.check is not None:
            same[1:] &= self.check[1:] == self.check[:-1]
        return same

    def known_to(self, index: list[Keys]) -> np.ndarray:
        """Return a bool a key: some shard of the index has it."""
        known = np.zeros(len(self.key), bool)
        for shard in index:
            part = shard.slice(self.band, self.low, self.high)
            keys = shard.key[self.band, part]
            if self.check is None or shard.check is None:
                known |= np.isin(self.key, keys)
            else:
                pairs = np.rec.fromarrays([self.key, self.check])
                known |= np.isin(pairs, np.rec.fromarrays([keys, shard.check[self.band, part]]))
        return known


class KeyJoin(Work):
    """The base of joins: keys are split into ranges, and ranges are assigned to tasks by their number of keys.

    Inputs: `keys`. `index` names one or several directories with keys of documents outside this corpus.
    """

    keys_a_task: int = KEYS_A_TASK
    index: str | tuple[str, ...] | None = None
    index_fingerprint: str = ""

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(self._tasks(read_all(inputs["keys"])))

    def known(self) -> list[Keys]:
        """Return the mapped keys of all indexes; none without one. Raises InputError when one is not whole."""
        return [read(path) for folder in as_folders(self.index) for path in key_files(folder)]

    def ranges(self, keys: list[Keys], rank: int) -> Iterator[Range]:
        """Yield the ranges of task `rank`, one at a time."""
        starts = offsets(keys)
        number = np.uint32 if starts[-1] < 1 << 32 else np.uint64
        for band, low, high in self._tasks(keys)[rank]:
            yield _gather(keys, starts.astype(number), band, low, high)

    def _tasks(self, keys: list[Keys]) -> list[list[tuple[int, int, int]]]:
        """Return for each task its ranges (band, low, high); a range is expected to hold at most `keys_a_task` keys."""
        held = sum(shard.key.shape[1] for shard in keys)
        bands = keys[0].bands if keys else 0
        parts = max(1, -(-held // self.keys_a_task))
        bounds = [TOP * part // parts for part in range(parts + 1)]
        ranges = [(band, bounds[part], bounds[part + 1]) for band in range(bands) for part in range(parts)]
        together = max(1, self.keys_a_task // max(1, -(-held // parts)))
        return [ranges[at : at + together] for at in range(0, len(ranges), together)] or [[]]


class Join(KeyJoin):
    """Link every document to the first one with the same key.

    Writes `edges/NNNNN.arrow`: `first` and `other` (document numbers in the whole corpus), and with an index
    `matched/NNNNN.arrow`: documents that share a key with the index.
    """

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        keys, known = read_all(inputs["keys"]), self.known()
        nothing = np.empty(0, np.uint32)
        firsts, others, matched, seen = [nothing], [nothing], [nothing], 0
        for part in self.ranges(keys, rank):
            first, other = _edges(part)
            firsts.append(first)
            others.append(other)
            seen += len(part.key)
            if known:
                matched.append(part.document[part.known_to(known)])
        edges = {"first": np.concatenate(firsts), "other": np.concatenate(others)}
        write_arrays(out / "edges" / f"{rank:05d}.arrow", edges, {})
        if known:
            documents = {"document": np.unique(np.concatenate(matched))}
            write_arrays(out / "matched" / f"{rank:05d}.arrow", documents, {})
        return Counts(seen=seen, kept=seen, notes={"edges": len(edges["first"])})


class SpanJoin(KeyJoin):
    """Find the places whose key occurs at an earlier place; with an index, also those whose key the index has.

    Writes `removed/NNNNN.arrow`: `document` (number in the whole corpus) and `unit`, sorted.
    """

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        keys, known = read_all(inputs["keys"]), self.known()
        documents, units, seen = [np.empty(0, np.uint32)], [np.empty(0, np.uint32)], 0
        for part in self.ranges(keys, rank):
            assert part.unit is not None
            repeated = part.repeats | part.known_to(known)
            documents.append(part.document[repeated])
            units.append(part.unit[repeated])
            seen += len(part.key)
        document, unit = np.concatenate(documents), np.concatenate(units)
        write_removed(out / "removed" / f"{rank:05d}.arrow", document, unit)
        count = len(document)
        return Counts(seen=seen, kept=seen - count, dropped={"repeated": count} if count else {})


def write_removed(path: Path, document: np.ndarray, unit: np.ndarray) -> None:
    """Write the places to cut, sorted by document, then unit."""
    order = np.lexsort((unit, document))
    write_arrays(path, {"document": document[order], "unit": unit[order].astype(np.uint32)}, {})


def _gather(keys: list[Keys], starts: np.ndarray, band: int, low: int, high: int) -> Range:
    slices = [shard.slice(band, low, high) for shard in keys]
    pairs = list(zip(keys, slices, strict=True))
    key = np.concatenate([shard.key[band, cut] for shard, cut in pairs])
    rows = [
        shard.row[band, cut].astype(starts.dtype) + start
        for (shard, cut), start in zip(pairs, starts[:-1], strict=True)
    ]
    check = _optional(pairs, band, "check")
    # shards, and rows and units of equal keys within a shard, are in order: a stable sort keeps documents in order
    order = np.argsort(key, kind="stable") if check is None else np.lexsort((check, key))
    unit = _optional(pairs, band, "unit")
    return Range(
        band,
        low,
        high,
        key[order],
        None if check is None else check[order],
        np.concatenate(rows)[order],
        None if unit is None else unit[order],
    )


def _optional(pairs: list[tuple[Keys, slice]], band: int, name: str) -> np.ndarray | None:
    if getattr(pairs[0][0], name) is None:
        return None
    return np.concatenate([getattr(shard, name)[band, cut] for shard, cut in pairs])


def _edges(part: Range) -> tuple[np.ndarray, np.ndarray]:
    """Return (first document of each group of equals, other member), one pair a member but the first."""
    same = part.repeats
    heads = np.maximum.accumulate(np.where(same, 0, np.arange(len(same))))
    others = np.flatnonzero(same)
    return part.document[heads[others]], part.document[others]
