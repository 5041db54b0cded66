"""Joins equal keys of all shards into edges between documents, by ranges of keys: no task sees the whole corpus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipelines.band_keys import FOLDER, KEYS_A_TASK, TOP, Keys, offsets, read, read_all, write_arrays
from schemas.artifact import Artifact
from schemas.work import Counts, Work


class Join(Work):
    """Sorts the keys of a range from all shards and links every document to the first one with the same key.

    Inputs: `keys`, and `index` (the keys of documents that are no part of this corpus) where there is one.
    Writes `edges/NNNNN.arrow`: `first` and `other` (document numbers in the whole corpus), and with an index
    `matched/NNNNN.arrow`: documents that share a key with the index.
    """

    keys_a_task: int = KEYS_A_TASK
    index: str | None = None  # directory of an index
    index_fingerprint: str = ""

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        keys = read_all(inputs["keys"])
        return len(self._tasks(keys))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        keys = read_all(inputs["keys"])
        starts = offsets(keys)
        number = np.uint32 if starts[-1] < 1 << 32 else np.uint64
        known = [read(path) for path in sorted((Path(self.index) / FOLDER).glob("*.arrow"))] if self.index else []
        firsts, others, matched, seen = [], [], [], 0
        for band, low, high in self._tasks(keys)[rank]:
            key, check, document = _gather(keys, starts, number, band, low, high)
            first, other = _edges(key, check, document)
            firsts.append(first)
            others.append(other)
            seen += len(key)
            if known:
                matched.append(_matched(known, key, check, document, band, low, high))
        edges = {"first": np.concatenate(firsts), "other": np.concatenate(others)}
        write_arrays(out / "edges" / f"{rank:05d}.arrow", edges, {"documents": int(starts[-1])})
        if known:
            rows = np.unique(np.concatenate(matched))
            write_arrays(out / "matched" / f"{rank:05d}.arrow", {"document": rows}, {})
        return Counts(seen=seen, kept=seen, notes={"edges": len(edges["first"])})

    def _tasks(self, keys: list[Keys]) -> list[list[tuple[int, int, int]]]:
        """Return for each task its ranges (band, low, high); a range is expected to hold at most `keys_a_task` keys."""
        held = sum(shard.key.shape[1] for shard in keys)
        bands = keys[0].bands if keys else 0
        parts = max(1, -(-held // self.keys_a_task))
        bounds = [TOP * part // parts for part in range(parts + 1)]
        ranges = [(band, bounds[part], bounds[part + 1]) for band in range(bands) for part in range(parts)]
        together = max(1, self.keys_a_task // max(1, -(-held // parts)))
        return [ranges[at : at + together] for at in range(0, len(ranges), together)] or [[]]


def _gather(
    keys: list[Keys], starts: np.ndarray, number: type, band: int, low: int, high: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Return (keys, checks or None, document numbers) of one range, sorted by key, then check, then document."""
    slices = [shard.slice(band, low, high) for shard in keys]
    key = np.concatenate([shard.key[band, cut] for shard, cut in zip(keys, slices, strict=True)])
    document = np.concatenate(
        [keys[i].row[band, cut].astype(number) + number(starts[i]) for i, cut in enumerate(slices)]
    )
    if keys[0].check is None:
        order = np.argsort(key, kind="stable")  # shards come in order, so documents do within a key
        return key[order], None, document[order]
    check = np.concatenate([shard.check[band, cut] for shard, cut in zip(keys, slices, strict=True)])  # type: ignore[index]
    order = np.lexsort((check, key))
    return key[order], check[order], document[order]


def _edges(key: np.ndarray, check: np.ndarray | None, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (first document of each group of equals, other member), one pair a member but the first."""
    if len(key) < 2:
        return document[:0], document[:0]
    same = key[1:] == key[:-1]
    if check is not None:
        same &= check[1:] == check[:-1]
    group_start = np.concatenate([[0], np.where(same, 0, np.arange(1, len(key)))])
    first = document[np.maximum.accumulate(group_start)]
    others = np.flatnonzero(same) + 1
    return first[others], document[others]


def _matched(
    known: list[Keys], key: np.ndarray, check: np.ndarray | None, document: np.ndarray, band: int, low: int, high: int
) -> np.ndarray:
    """Return the documents whose key (and check) is in the index."""
    found = np.zeros(len(key), bool)
    for shard in known:
        cut = shard.slice(band, low, high)
        theirs = shard.key[band, cut]
        if check is None or shard.check is None:
            found |= np.isin(key, theirs)
        else:
            ours = np.rec.fromarrays([key, check])
            found |= np.isin(ours, np.rec.fromarrays([theirs, shard.check[band, cut]]))
    return document[found]
