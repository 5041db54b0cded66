"""MinHash deduplication beside datatrove's, on the same Parquet files in one run: speed, and recall of planted pairs.

    python tests/benchmarks/minhash.py [--mb 100] [--peer-mb 100] [--shards 8]

Text: the sample sets, each document followed by copies with 1 to 20 % of the words substituted, deleted or inserted.
`--peer-mb` gives datatrove the first so many megabytes only; rates are a megabyte's, so ratios stay fair, and recall is
then taken on that part for both. Time is CPU time of one process each, warm (one small run before). Ours: Parquet ->
signatures -> join -> clusters -> decisions -> kept and dropped Parquet. Its: stages 1 to 4 with the Parquet reader and
writer and default settings.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.dedup.minhash import Minhash
from pipelines.fetching import samples
from pipelines.steps.corpus import Corpus
from schemas.artifact import Artifact
from schemas.records import DOCUMENT, document_id
from schemas.work import Counts, Work

SETS = ("api_docs", "encyclopedia", "drama", "code")
RATES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
MIN_WORDS = 50
SAMPLES_MB = 45  # of the sets together


def edited(words: list[str], rate: float, chance: random.Random, vocabulary: list[str]) -> list[str]:
    """Return words with a share of them substituted, deleted or followed by an inserted one."""
    out: list[str] = []
    for word in words:
        draw = chance.random() / rate
        if draw >= 1:
            out.append(word)
        elif draw < 1 / 3:
            out.append(chance.choice(vocabulary))
        elif draw < 2 / 3:
            out.extend((word, chance.choice(vocabulary)))
    return out


def corpus(root: Path, megabytes: float, shards: int) -> list[tuple[str, str, float]]:
    """Write `documents/`; return the planted pairs (id of the original, id of the copy, edit rate)."""
    chance = random.Random(7)
    originals = [row for name in SETS for batch in samples.read(name) for row in batch.to_pylist()]
    chance.shuffle(originals)
    vocabulary = sorted({word for row in chance.sample(originals, 2000) for word in row["text"].split()})
    copies = max(1, round(megabytes / SAMPLES_MB) - 1)
    rows, pairs, size = [], [], 0
    for number, row in enumerate(originals):
        words = row["text"].split(" ")
        rows.append(row)
        size += len(row["text"].encode())
        for copy in range(copies if len(words) >= MIN_WORDS else 0):
            rate = RATES[(number + copy) % len(RATES)]
            text = " ".join(edited(words, rate, chance, vocabulary))
            pairs.append((row["id"], document_id(f"copy{copy}", text), rate))
            rows.append({**row, "text": text, "id": pairs[-1][1]})
            size += len(text.encode())
        if size >= megabytes * 1e6:
            break
    chance.shuffle(rows)
    (root / "documents").mkdir(parents=True)
    for shard in range(shards):
        part = rows[shard::shards]
        pq.write_table(
            pa.Table.from_pylist(part, DOCUMENT), root / "documents" / f"{shard:05d}.parquet", compression="zstd"
        )
    print(f"{size / 1e6:.1f} MB, {len(rows)} documents, {len(pairs)} planted pairs, {shards} shards")
    return pairs


class Bench:
    """A plan that runs each step as it is added, and keeps its CPU seconds."""

    def __init__(self, root: Path) -> None:
        self.root, self.seconds, self.counts = root, dict[str, float](), dict[str, Counts]()

    def __call__(self, name: str, work: Work, inputs: Mapping[str, Any]) -> Artifact:
        out = self.root / name.replace(":", ".")
        out.mkdir(parents=True)
        started = time.process_time()
        parts = [work.run(inputs, out, rank).check(name) for rank in range(work.shards(inputs))]
        work.finish(inputs, out)
        self.seconds[name.partition(":")[0]] = time.process_time() - started
        self.counts[name] = Counts.total(parts)
        return Artifact(out)


def ours(root: Path, documents: Artifact) -> tuple[dict[str, float], dict[str, int]]:
    """Return (seconds by step, cluster number by document id)."""
    bench = Bench(root)
    decided = Minhash().steps(bench, "c", documents, None)
    bench("corpus", Corpus(), {"documents": documents, "decisions": decided})
    print("ours:", bench.counts["minhash:c"].dropped, bench.counts["minhash_join:c"].notes)
    clusters = pl.concat([pl.read_parquet(file) for file in decided.files("clusters")])
    return bench.seconds, dict(zip(clusters["id"].to_list(), clusters["cluster"].to_list(), strict=True))


def theirs(root: Path, documents: Artifact, shards: int) -> tuple[dict[str, float], dict[str, int]]:
    """Return the same for datatrove: four stages, one process."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    def reader() -> ParquetReader:
        return ParquetReader(str(documents.path / "documents"), text_key="text", id_key="id")

    at, how = str(root), MinhashConfig()
    stages: dict[str, tuple[list[Any], int]] = {
        "stage 1": ([reader(), MinhashDedupSignature(f"{at}/sigs", how)], shards),
        "stage 2": ([MinhashDedupBuckets(f"{at}/sigs", f"{at}/buckets", config=how, lines_to_buffer=-1)], 14),
        "stage 3": ([MinhashDedupCluster(f"{at}/buckets", f"{at}/remove", how, save_cluster_id=True)], 1),
        "stage 4": (
            [
                reader(),
                MinhashDedupFilter(f"{at}/remove", ParquetWriter(f"{at}/out/dropped"), load_cluster_ids=True),
                ParquetWriter(f"{at}/out/kept"),
            ],
            shards,
        ),
    }
    seconds = {}
    for name, (pipeline, tasks) in stages.items():
        started = time.process_time()
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=f"{at}/logs/{name}").run()
        seconds[name] = time.process_time() - started
    frames = [pl.read_parquet(f) for f in sorted((root / "out").rglob("*.parquet"))]
    ids = pl.concat([f.select("id", pl.col("metadata").struct.field("minhash_cluster_id")) for f in frames])
    ids = ids.filter(pl.col("minhash_cluster_id") >= 0)
    dropped = sum(pl.read_parquet(f).height for f in (root / "out" / "dropped").glob("*.parquet"))
    print("datatrove: dropped", dropped)
    return seconds, dict(zip(ids["id"].to_list(), ids["minhash_cluster_id"].to_list(), strict=True))


def hits(clusters: Mapping[str, int], pairs: list[tuple[str, str, float]]) -> np.ndarray:
    """Return which of the planted pairs share a cluster."""
    return np.array([first in clusters and clusters.get(first) == clusters.get(second) for first, second, _ in pairs])


def print_recall(mine: np.ndarray, peers: np.ndarray, rates: np.ndarray) -> None:
    """Print the share of pairs found, by edit rate, and the paired difference with its 95 % interval."""
    print(f"recall of {len(rates)} planted pairs, by edit rate:")
    for rate in RATES:
        at = rates == rate
        if at.any():
            apart = mine[at].astype(float) - peers[at]
            half = 1.96 * apart.std() / at.sum() ** 0.5
            print(
                f"  {rate:5.0%}  ours {mine[at].mean():.4f}  datatrove {peers[at].mean():.4f}  "
                f"difference {apart.mean():+.4f} +-{half:.4f}"
            )


def part_of(documents: Artifact, root: Path, megabytes: float, whole: float) -> Artifact:
    """Return the documents whose shards hold about the first `megabytes`."""
    files = documents.files("documents")
    count = max(1, round(len(files) * min(1.0, megabytes / whole)))
    (root / "documents").mkdir(parents=True)
    for file in files[:count]:
        shutil.copy(file, root / "documents")
    return Artifact(root)


def size_of(documents: Artifact) -> float:
    return (
        sum(pl.read_parquet(f, columns=["text"])["text"].str.len_bytes().sum() for f in documents.files("documents"))
        / 1e6
    )


def report(name: str, seconds: Mapping[str, float], megabytes: float) -> tuple[float, float]:
    """Print MB/s a step; return those of the signatures and of the whole."""
    for step, spent in seconds.items():
        print(f"  {name:10s} {step:16s} {spent:8.2f} s  {megabytes / spent:9.3f} MB/s")
    whole = megabytes / sum(seconds.values())
    print(f"  {name:10s} {'whole':16s} {sum(seconds.values()):8.2f} s  {whole:9.3f} MB/s")
    return megabytes / next(iter(seconds.values())), whole


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=float, default=100)
    parser.add_argument("--peer-mb", type=float, default=None)
    parser.add_argument("--shards", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        corpus(root / "warm", 0.3, 1)
        run: Callable[..., Any] = ours
        run(root / "warm_ours", Artifact(root / "warm"))
        theirs(root / "warm_theirs", Artifact(root / "warm"), 1)
        pairs = corpus(root / "in", args.mb, args.shards)
        documents = Artifact(root / "in")
        megabytes = size_of(documents)
        part = part_of(documents, root / "part", args.peer_mb or megabytes, megabytes)
        shards = len(part.files("documents"))
        our_seconds, our_clusters = ours(root / "ours", documents)
        peer_seconds, peer_clusters = theirs(root / "theirs", part, shards)
        if shards < args.shards:
            _, our_clusters = ours(root / "ours_part", part)
        ids = set(pl.concat([pl.read_parquet(f, columns=["id"]) for f in part.files("documents")])["id"])
        here = [pair for pair in pairs if pair[0] in ids and pair[1] in ids]
        our_sign, our_whole = report("ours", our_seconds, megabytes)
        peer_sign, peer_whole = report("datatrove", peer_seconds, size_of(part))
        print(
            f"signatures: {our_sign / peer_sign:.0f}x (goal 60x)   end to end: {our_whole / peer_whole:.0f}x (goal 25x)"
        )
        print_recall(hits(our_clusters, here), hits(peer_clusters, here), np.array([rate for *_, rate in here]))


if __name__ == "__main__":
    main()
