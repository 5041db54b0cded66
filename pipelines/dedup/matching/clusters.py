"""Turns edges between documents into clusters and chooses one member: union-find arrays, at most 16 bytes a document.

Memory a document: parent 4 bytes, whether its cluster is in the index 1 and size 4, in all 9. With scores, first
parent 4, best member 4 and its score 8, in all 16; then 13, without the scores. (Twice the 4s beyond 4.29 * 10^9
documents: 25 at most.) Edges and scores are read from mapped files, a file at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from windtunnel.pipelines.dedup.matching.band_keys import offsets, read_all, read_arrays, write_arrays
from windtunnel.pipelines.shards.reader import Shard, ShardWork
from windtunnel.pipelines.shards.writer import write_drops, write_table
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts, Work

CLUSTER = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("cluster", pa.int64(), nullable=False),  # number in the corpus of its first member
        pa.field("size", pa.int64(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("in_index", pa.bool_(), nullable=False),  # the index has a key of the cluster: all of it is dropped
    ]
)


class Cluster(Work):
    """Unite the documents that edges join, in one task that streams the edges.

    Inputs: `keys` (for the sizes of shards, and scores) and `edges`. Writes `members/NNNNN.arrow`, a file a shard:
    `row`, `cluster`, `winner`, `size`, `in_index` of the documents that are in a cluster of two or more, or in one with
    a key of the index.
    """

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.pipelines.features.kernels import union_find

        shards = read_all(inputs["keys"])
        starts = offsets(shards)
        total = int(starts[-1])
        parent = np.arange(total, dtype=np.uint32 if total < 1 << 32 else np.uint64)
        for path in inputs["edges"].files("edges", ".arrow"):
            arrays, _ = read_arrays(path)
            union_find.unite(parent, arrays["first"].astype(parent.dtype), arrays["other"].astype(parent.dtype))
        union_find.flatten(parent)
        best = _winners(inputs["keys"], parent, starts)  # first: its scores are freed before the next arrays
        touched = _touching_index(inputs["edges"], parent)
        size = np.zeros(total, parent.dtype)
        union_find.sizes(parent, size)
        clusters = in_clusters = 0
        for shard in range(len(shards)):
            here = slice(int(starts[shard]), int(starts[shard + 1]))
            roots = parent[here]
            rows = np.flatnonzero((size[roots] > 1) | touched[roots]).astype(np.uint32)
            roots = roots[rows]
            columns = {"row": rows, "cluster": roots, "winner": best[roots], "size": size[roots]}
            columns["in_index"] = touched[roots].astype(np.uint8)
            write_arrays(out / "members" / f"{shard:05d}.arrow", columns, {"start": here.start})
            clusters += int(np.count_nonzero(roots == rows + here.start))
            in_clusters += len(rows)
        return Counts(seen=total, kept=total, notes={"clusters": clusters, "documents_in_clusters": in_clusters})


class Decide(ShardWork):
    """Decide for every document of a shard: in each cluster the winner stays.

    Inputs: `documents`, `decisions` (prior ones, if any) and `clusters`. Writes `decisions/NNNNN.parquet`,
    `clusters/NNNNN.parquet` (CLUSTER, members of clusters only), and `measures/NNNNN.parquet`: the number and size of
    each document's cluster.
    """

    reason: str
    step: str

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        shard = Shard(inputs, rank)
        ids = shard.ids()
        members, notes = read_arrays(inputs["clusters"].files("members", ".arrow")[rank])
        kept = (members["winner"] == members["row"] + notes["start"]) & (members["in_index"] == 0)
        drop = np.zeros(len(ids), bool)
        drop[members["row"][~kept]] = True
        counts = write_drops(shard, out, rank, drop, self.reason, self.step)
        if counts.dropped.get(self.reason, 0) != int(drop.sum()):
            raise InputError(f"shard {rank}: a dropped document is in a cluster: run again from a new store")
        table = pa.table(
            {
                "id": ids.take(pa.array(members["row"])).combine_chunks(),
                "cluster": members["cluster"].astype(np.int64),
                "size": members["size"].astype(np.int64),
                "kept": kept,
                "in_index": members["in_index"].astype(bool),
            },
            schema=CLUSTER,
        )
        write_table(out / "clusters" / f"{rank:05d}.parquet", table)
        self._write_measures(out, rank, ids, members)
        return counts

    def _write_measures(self, out: Path, rank: int, ids: pa.ChunkedArray, members: Mapping[str, np.ndarray]) -> None:
        """Write cluster and size of every row as measured values; null and 1 for documents in no cluster."""
        cluster, size = np.full(len(ids), -1, np.int64), np.ones(len(ids), np.int64)
        cluster[members["row"]], size[members["row"]] = members["cluster"], members["size"]
        columns = {
            "id": ids,
            f"{self.reason}_cluster": pa.array(cluster, mask=cluster < 0),
            f"{self.reason}_cluster_size": size,
        }
        write_table(out / "measures" / f"{rank:05d}.parquet", pa.table(columns))


def _touching_index(edges: Artifact, parent: np.ndarray) -> np.ndarray:
    """Return a bool a document number: it is the root of a cluster with a key of the index."""
    touched = np.zeros(len(parent), bool)
    for path in edges.files("matched", ".arrow"):
        touched[parent[read_arrays(path)[0]["document"]]] = True
    return touched


def _winners(keys: Artifact, parent: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return for each root the document number that stays: the highest score, else the first member."""
    from windtunnel.pipelines.features.kernels import union_find

    files = keys.files("scores", ".arrow")
    if not files:
        return parent  # the root is the first member
    best, best_score = parent.copy(), np.zeros(len(parent), np.uint64)
    for path, start in zip(files, starts, strict=False):
        union_find.choose(parent, int(start), read_arrays(path)[0]["score"], best, best_score)
    return best
