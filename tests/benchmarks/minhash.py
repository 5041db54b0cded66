"""MinHash deduplication beside datatrove's, on the same Parquet files in one run: speed, and recall of planted pairs.

    python tests/benchmarks/minhash.py [--mb 100] [--peer-mb 100] [--shards 8] [--recall-mb 30] [--seeds 12]

Text: the sample sets, each document followed by copies with 1 to 20 % of the words substituted, deleted or inserted.
`--peer-mb` gives datatrove the first so many megabytes only; rates are a megabyte's, so ratios stay fair. Time is CPU
time of one process each, warm (one small run before). Ours: Parquet -> signatures -> join -> clusters -> decisions ->
kept and dropped Parquet. Its: stages 1 to 4 with the Parquet reader and writer and default settings.

Recall is the share of pairs that agree in a band, on a corpus of its own, with `--seeds` draws of either hash family:
text that many documents share makes one draw luckier than another by more than the number of pairs lets one think, so
one seed tells nothing about differences below a hundredth. datatrove's signatures are made by its own code.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

from windtunnel.pipelines.datasets.corpus import Corpus
from windtunnel.pipelines.dedup.minhash import Minhash, signatures_of
from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.pipelines.features.folding import table as fold_table
from windtunnel.pipelines.features.kernels import shingle_sets
from windtunnel.pipelines.samples import sample_set as samples
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.schemas.work import Counts, Work

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


def ours(root: Path, documents: Artifact) -> dict[str, float]:
    """Return seconds by step."""
    bench = Bench(root)
    decided = Minhash().steps(bench, "c", documents, None)
    bench("corpus", Corpus(), {"documents": documents, "decisions": decided})
    print("ours:", bench.counts["minhash:c"].dropped, bench.counts["minhash_join:c"].notes)
    return bench.seconds


def theirs(root: Path, documents: Artifact, shards: int) -> dict[str, float]:
    """Return the same for datatrove: four stages, one process."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from loguru import logger

    logger.remove()  # a page for every task

    def reader() -> ParquetReader:
        return ParquetReader(str(documents.path / "documents"), text_key="text", id_key="id")

    at, how = str(root), MinhashConfig()
    stages: dict[str, tuple[list[Any], int]] = {
        "stage 1": ([reader(), MinhashDedupSignature(f"{at}/sigs", how)], shards),
        "stage 2": ([MinhashDedupBuckets(f"{at}/sigs", f"{at}/buckets", config=how, lines_to_buffer=-1)], 14),
        "stage 3": ([MinhashDedupCluster(f"{at}/buckets", f"{at}/remove", how)], 1),
        "stage 4": (
            [
                reader(),
                MinhashDedupFilter(f"{at}/remove", ParquetWriter(f"{at}/out/dropped")),
                ParquetWriter(f"{at}/out/kept"),
            ],
            shards,
        ),
    }
    seconds = {}
    for name, (pipeline, tasks) in stages.items():
        started = time.process_time()
        with contextlib.redirect_stderr(io.StringIO()):
            LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=f"{at}/logs/{name}").run()
        seconds[name] = time.process_time() - started
    dropped = sum(pl.read_parquet(f).height for f in (root / "out" / "dropped").glob("*.parquet"))
    print("datatrove: dropped", dropped)
    return seconds


def found(minima: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return which pairs of rows of a matrix of minima (documents x bands x rows) agree in a band."""
    return (minima[pairs[:, 0]] == minima[pairs[:, 1]]).all(axis=2).any(axis=1)


def peer_shingles(texts: list[str]) -> list[np.ndarray]:
    """Return datatrove's hashes of the n-grams of each text."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    block = MinhashDedupSignature("unused", MinhashConfig())
    return [np.asarray(block.get_shingles(text)).ravel() for text in texts]


def peer_minima(shingles: list[np.ndarray], seeds: int) -> Iterator[np.ndarray]:
    """Yield datatrove's minima (documents x bands x rows) with each seed."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    for seed in range(1, seeds + 1):
        block = MinhashDedupSignature("unused", MinhashConfig(seed=seed))
        minima = [block.get_signature(s.reshape(-1, 1)) if len(s) else np.zeros((14, 8)) for s in shingles]
        yield np.array(minima, np.uint64)


def our_shingles(column: pa.Array) -> list[np.ndarray]:
    """Return our hashes of the n-grams of each text."""
    data, offsets = text_buffers(column)
    held, starts = shingle_sets.shingle_sets(data, offsets, *fold_table(), Minhash().ngram)
    return [held[start:end] for start, end in pairwise(starts)]


def expected(shingles: list[np.ndarray], pairs: np.ndarray) -> np.ndarray:
    """Return each pair's chance to agree in one of 14 bands of 8, from the exact similarity of its n-grams."""
    sets = [np.unique(s) for s in shingles]
    both = np.array([len(np.intersect1d(sets[a], sets[b], assume_unique=True)) for a, b in pairs])
    either = np.array([len(sets[a]) + len(sets[b]) for a, b in pairs]) - both
    return 1 - (1 - (both / np.maximum(1, either)) ** 8) ** 14


def recall(megabytes: float, seeds: int) -> None:
    """Print the share of planted pairs that agree in a band, ours and datatrove's, over draws of the hash families."""
    with tempfile.TemporaryDirectory() as folder:
        planted = corpus(Path(folder) / "in", megabytes, 1)
        rows = pl.read_parquet(Path(folder) / "in" / "documents" / "00000.parquet", columns=["id", "text"])
    place = {name: at for at, name in enumerate(rows["id"])}
    pairs = np.array([(place[first], place[second]) for first, second, _ in planted])
    used, pairs = np.unique(pairs, return_inverse=True)  # documents without a twin are not asked
    pairs, rates = pairs.reshape(-1, 2), np.array([rate for *_, rate in planted])
    texts = rows["text"].gather(used).to_list()
    column, alive = pa.array(texts, pa.large_string()), np.ones(len(texts), bool)
    ours = [signatures_of(Minhash(seed=seed), column, alive)[0].reshape(-1, 14, 8) for seed in range(1, seeds + 1)]
    mine = np.array([found(minima, pairs) for minima in ours])
    shingles = peer_shingles(texts)
    peers = np.array([found(minima, pairs) for minima in peer_minima(shingles, seeds)])
    chances = expected(our_shingles(column), pairs), expected(shingles, pairs)
    print(f"recall of {len(rates)} planted pairs by edit rate, mean of {seeds} seeds, with 95 % intervals:")
    for rate in RATES:
        first, second = (hits[:, rates == rate].mean(axis=1) for hits in (mine, peers))
        if first.size and np.isfinite(first).all():
            apart = first - second  # the draws of the two families have nothing to do with each other
            half = stats.t.ppf(0.975, seeds - 1) * apart.std(ddof=1) / seeds**0.5
            mine_is, theirs_is = (chance[rates == rate].mean() for chance in chances)
            print(
                f"  {rate:5.0%}  ours {first.mean():.4f} (seeds differ by {first.std(ddof=1):.4f})  "
                f"datatrove {second.mean():.4f} ({second.std(ddof=1):.4f})  difference {apart.mean():+.4f} +-{half:.4f}"
                f"  perfect hashes {mine_is:.4f} {theirs_is:.4f} {mine_is - theirs_is:+.4f}"
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
    parser.add_argument("--recall-mb", type=float, default=30)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--recall-only", action="store_true")
    args = parser.parse_args()
    if args.recall_only:
        return recall(args.recall_mb, args.seeds)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        corpus(root / "warm", 0.3, 1)
        ours(root / "warm_ours", Artifact(root / "warm"))
        theirs(root / "warm_theirs", Artifact(root / "warm"), 1)
        corpus(root / "in", args.mb, args.shards)
        documents = Artifact(root / "in")
        megabytes = size_of(documents)
        part = part_of(documents, root / "part", args.peer_mb or megabytes, megabytes)
        shards = len(part.files("documents"))
        our_seconds = ours(root / "ours", documents)
        peer_seconds = theirs(root / "theirs", part, shards)
        our_sign, our_whole = report("ours", our_seconds, megabytes)
        peer_sign, peer_whole = report("datatrove", peer_seconds, size_of(part))
        print(
            f"signatures: {our_sign / peer_sign:.0f}x (goal 60x)   end to end: {our_whole / peer_whole:.0f}x (goal 25x)"
        )
    return recall(args.recall_mb, args.seeds)


if __name__ == "__main__":
    main()
