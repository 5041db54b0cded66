"""The stages of MinHash deduplication after the signatures, at two sizes: rates, and memory that does not grow.

    python tests/benchmarks/dedup_scale.py [--documents 200000] [--times 10]

Keys are drawn, not made from text: 14 bands a document, 30 % of the documents near to an earlier one. Each task runs in
a process of its own, and its peak memory is what that process added to an idle one. From the rates the time and disk
for 10^9 documents (about 10^12 tokens) follow; they are printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from windtunnel.pipelines.dedup.matching import band_keys
from windtunnel.pipelines.dedup.matching.clusters import Cluster
from windtunnel.pipelines.dedup.matching.join import Join
from windtunnel.schemas.artifact import Artifact

BANDS, SHARD = 14, 50_000


def keys(root: Path, documents: int) -> Artifact:
    chance = np.random.default_rng(1)
    for shard in range(-(-documents // SHARD)):
        count = min(SHARD, documents - shard * SHARD)
        key = chance.integers(0, 1 << 64, (BANDS, count), np.uint64, endpoint=False)
        copies = chance.choice(count, int(0.3 * count), replace=False)
        shared = chance.random((BANDS, len(copies))) < 0.3
        key[:, copies] = np.where(shared, key[:, copies // 2], key[:, copies])
        row = np.arange(count, dtype=np.uint32)
        band_keys.write(root / band_keys.FOLDER / f"{shard:05d}.arrow", key, row, None, count)
    return Artifact(root)


def timed(work: Join | Cluster, inputs: dict[str, str], out: str, rank: int, queue: multiprocessing.Queue) -> None:
    if isinstance(work, Cluster):
        from windtunnel.pipelines.features.kernels import union_find

        union_find.flatten(np.zeros(1, np.uint32))  # compiled, or read from the cache, before the clock runs
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    work.run({role: Artifact(Path(path)) for role, path in inputs.items()}, Path(out), rank)
    spent = time.process_time() - started
    queue.put((spent, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024))


def apart(work: Join | Cluster, inputs: dict[str, Artifact], out: Path) -> tuple[float, float]:
    """Run every task in a process of its own; return (CPU seconds of all, largest peak in MB)."""
    context = multiprocessing.get_context("spawn")
    paths = {role: str(artifact.path) for role, artifact in inputs.items()}
    seconds, peak = 0.0, 0.0
    for rank in range(work.shards(inputs)):
        queue = context.Queue()
        process = context.Process(target=timed, args=(work, paths, str(out), rank, queue))
        process.start()
        spent, used = queue.get(timeout=600)
        process.join()
        seconds, peak = seconds + spent, max(peak, used)
    return seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--times", type=int, default=10)
    args = parser.parse_args()
    for documents in (args.documents, args.documents * args.times):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            signed = keys(root / "sign", documents)
            size = sum(file.stat().st_size for file in signed.files(band_keys.FOLDER, ".arrow"))
            join, join_peak = apart(Join(), {"keys": signed}, root / "join")
            edges = sum(file.stat().st_size for file in (root / "join" / "edges").glob("*.arrow"))
            joined = Artifact(root / "join")
            cluster, cluster_peak = apart(Cluster(), {"keys": signed, "edges": joined}, root / "cluster")
            print(f"{documents:>12,} documents: keys {size / documents:.0f} bytes a document on disk")
            print(f"  join    {join:7.2f} s  {documents / join:12,.0f} documents/s   peak {join_peak:6.0f} MB a task")
            print(
                f"  cluster {cluster:7.2f} s  {documents / cluster:12,.0f} documents/s   peak {cluster_peak:6.0f} MB, "
                f"{cluster_peak * 2**20 / documents:.1f} bytes a document with mapped files"
            )
    scale = 1e9 / documents
    print(f"10^9 documents: keys {size * scale / 1e12:.2f} TB, edges {edges * scale / 1e9:.0f} GB of disk,")
    print(f"  join {join * scale / 3600:.1f} CPU hours over any number of tasks,")
    print(f"  cluster {cluster * scale / 60:.0f} minutes in one, 8 to 12 GB (more when its arrays leave the cache)")


if __name__ == "__main__":
    main()
