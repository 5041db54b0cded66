"""Rules: Gopher's two, C4 and FineWeb, ours and datatrove's on the same real documents, in one run.

    python tests/benchmarks/rules.py [--megabytes 100] [--peer-kilobytes 700] [--json] [--memory]

The sample sets (about 85 MB; some shards are read twice to make 110) lie as Parquet shards (zstd) and go from there to
a decision with a reason. Every document meets all four rule sets, no early exit on either side, since that is what one
pass measures; and again in FineWeb's order (what one rule drops the next does not see; C4 rewrites, and FineWeb's rules
see the new text). datatrove runs on every k-th document of the same shards, k so that it takes about a minute; its
Parquet reading is left out. Times are CPU seconds of one thread, so that other load on the machine counts little; the
gains of two threads in one process, and of two processes as a run's workers are, go by the clock, in turns, beside the
gains of a bare hash, which is what the machine allows. `--memory` adds peak memory at 1, 3 and 10 times the input.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

SETS = ("api_docs", "mail", "speeches", "drama", "novel", "python_docs", "sqlite_docs", "web", "encyclopedia", "code")
RULES = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
CHAIN = ["gopher_repetition", "gopher_quality", {"c4": {"terminal_punctuation": False}}, "fineweb"]
SHARD_BYTES = 4 << 20
ROUNDS, TIMES = 6, 4
PAIRS = ("threads", "processes")
REDECIDED = 1_000_000

work: Any = None  # what a process does with a shard, set by `prepare`


def shards(folder: Path, megabytes: float) -> list[Path]:
    """Write the sample sets as shards of about 4 MB of text; every shard holds one kind of text."""
    from windtunnel.pipelines.samples.sample_set import read

    paths: list[Path] = []
    total = 0
    for name in SETS:
        held: list[pa.RecordBatch] = []
        for batch in read(name):
            for part in _small(batch):
                held.append(part)
                if sum(b.column("text").nbytes for b in held) >= SHARD_BYTES:
                    total += _flush(folder, held, paths)
        total += _flush(folder, held, paths)
        if total >= megabytes * 1e6:
            break
    distinct = list(paths)
    while total < megabytes * 1e6:  # the sets hold about 85 MB: some shards are read twice
        path = distinct[len(paths) % len(distinct)]
        total += pq.read_table(path, columns=["text"])["text"].nbytes
        paths.append(path)
    return paths


def _small(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, 512):
        yield batch.slice(start, 512)


def _flush(folder: Path, held: list[pa.RecordBatch], paths: list[Path]) -> int:
    if not held:
        return 0
    table = pa.Table.from_batches(held)
    path = folder / f"{len(paths):05d}.parquet"
    pq.write_table(table, path, compression="zstd")
    paths.append(path)
    held.clear()
    return table.column("text").nbytes


def decided(path: Path, links: list[list[Any]]) -> int:
    """Read a shard and decide by each list of rules; return the documents dropped by at least one."""
    from windtunnel.pipelines.filters._measure import READ, measured
    from windtunnel.pipelines.shards.reader import batches

    dropped = 0
    for batch in batches(path, READ):
        (link,) = links[0]
        frame = pl.from_arrow(measured(batch, link.settings, []))
        assert isinstance(frame, pl.DataFrame)
        reasons = frame.select_seq(link.verdict.alias(str(k)) for k, (link,) in enumerate(links))
        dropped += reasons.select(pl.any_horizontal(pl.all().is_not_null()).sum()).item()
    return dropped


def chained(path: Path, links: list[Any]) -> int:
    """Read a shard and run the chain; return the documents dropped."""
    from windtunnel.pipelines.filters._chain import judge
    from windtunnel.pipelines.filters._measure import READ
    from windtunnel.pipelines.shards.reader import batches

    return sum(batch.num_rows - judge(batch, links).reasons.null_count() for batch in batches(path, READ))


def peer(texts: list[str], every: bool) -> float:
    """Return datatrove's CPU seconds for the four filters, on every document or with what the first drops gone."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    quiet = {"filter_no_terminal_punct": False} if not every else {}
    stages = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(**quiet), FineWebQualityFilter()]
    stages[0].filter(Document(text="A warm start.", id="0"))
    begin = time.process_time()
    for k, text in enumerate(texts):
        document = Document(text=text, id=str(k))
        for stage in stages:
            if every:
                document.text = text
            if stage.filter(document) is not True and not every:
                break
    return time.process_time() - begin


def redecide(measures: Path, folder: Path) -> float:
    """Return documents a second of deciding anew from stored columns, reading and writing included."""
    from windtunnel.pipelines.filters._decide import Decide
    from windtunnel.pipelines.filters._rule import rules_of
    from windtunnel.schemas.artifact import Artifact
    from windtunnel.schemas.plugin import full_spec

    specs = tuple(full_spec(rule) for _, rule in rules_of(list(RULES)))
    rows = pq.ParquetFile(measures / "measures" / "00000.parquet").metadata.num_rows
    begin = time.perf_counter()
    Decide(rules=specs).run({"measures": Artifact(measures)}, folder, 0)
    return rows / (time.perf_counter() - begin)


def stored_measures(paths: list[Path], folder: Path) -> Path:
    """Write the measured columns of all shards, repeated to a million documents, as one shard."""
    from windtunnel.pipelines.filters._chain import chain
    from windtunnel.pipelines.filters._measure import READ, measured
    from windtunnel.pipelines.shards.reader import batches

    (link,) = chain(["gopher_quality"])
    table = pa.concat_tables(measured(batch, link.settings, []) for path in paths for batch in batches(path, READ))
    times = -(-REDECIDED // table.num_rows)
    target = folder / "measures" / "00000.parquet"
    target.parent.mkdir(parents=True)
    pq.write_table(pa.concat_tables([table] * times).slice(0, REDECIDED), target, compression="zstd")
    return folder


def memory(paths: list[Path], times: int) -> float:
    """Return peak megabytes of a process of its own that measures the shards `times` times."""
    words = [sys.executable, __file__, "--child", str(times), *map(str, paths)]
    done = subprocess.run(
        words, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd() / ".src")}
    )
    return float(done.stdout)


def child(times: int, paths: list[Path]) -> None:
    from windtunnel.pipelines.filters._chain import chain

    links = [chain([name]) for name in RULES]
    for _ in range(times):
        for path in paths:
            decided(path, links)
    status = Path("/proc/self/status").read_text()  # getrusage would count what the parent had before it started us
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def prepare(kind: str, threads: int, path: Path | None) -> None:
    """Make a process ready: pools of so many threads, rules built, kernels compiled and warm."""
    global work
    pa.set_cpu_count(threads)
    if kind == "hash":
        work = hashed
        return
    from windtunnel.pipelines.filters._chain import chain

    links = [chain([name]) for name in RULES] if kind == "every" else chain(CHAIN)
    work = partial(decided if kind == "every" else chained, links=links)
    work(path)


def hashed(times: int) -> int:
    """Hash a megabyte so many times: what shares nothing but the machine."""
    data = bytes(1 << 20)
    for _ in range(times):
        hashlib.blake2b(data)
    return times


def share(shard: Any) -> int:
    return work(shard)


def threaded(threads: int, shards: list[Any]) -> tuple[float, float]:
    """Return (CPU seconds, seconds by the clock) of all shards on so many threads of this process."""
    spent, begin = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, shards))
    return time.process_time() - spent, time.perf_counter() - begin


@dataclass(frozen=True)
class Timing:
    """CPU seconds of all shards on one thread (best round); the gains of two threads and two processes (`interval`)."""

    cpu: float
    threads: list[float]
    processes: list[float]


@contextmanager
def ready(kind: str, processes: int, threads: int, path: Any) -> Iterator[Any]:
    """Yield a pool of processes of their own, with as many threads in polars' and Arrow's pools as they are to use."""
    from windtunnel.pipelines.engine.executors.local import bounded_pools

    with (
        bounded_pools(threads),
        multiprocessing.get_context("spawn").Pool(processes, prepare, (kind, threads, path)) as pool,
    ):
        yield pool


def timed(kind: str, paths: list[Any]) -> Timing:
    """Return what the shards take on one thread, and by how much two threads and two processes are faster.

    The three take turns, for the machine's speed changes within minutes: a gain is of one round, and the interval is of
    the rounds' mean. Every turn takes the shards several times over, so that the wait for the last one counts little.
    """
    shards, rounds = paths * TIMES, []
    with ready(kind, 1, 1, paths[0]) as one, ready(kind, 1, 2, paths[0]) as pair, ready(kind, 2, 1, paths[0]) as two:
        for _ in range(ROUNDS + 1):
            cpu, alone = one.apply(threaded, (1, shards))
            _, together = pair.apply(threaded, (2, shards))
            begin = time.perf_counter()
            two.map(share, shards, chunksize=1)
            rounds.append((cpu / TIMES, alone / together, alone / (time.perf_counter() - begin)))
    spent, threads, processes = np.array(rounds[1:]).T  # the first was for the caches
    return Timing(float(spent.min()), interval(threads), interval(processes))


def interval(values: np.ndarray) -> list[float]:
    """Return the mean over rounds and the ends of its 95 % interval (Student's t)."""
    from scipy import stats  # not in the children, whose memory is measured

    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return [float(values.mean()), float(values.mean()) - half, float(values.mean()) + half]


def gains(row: dict[str, Any]) -> str:
    """Return both gains with their intervals, in words."""
    found = {name: row[f"two_{name}"] for name in PAIRS}
    return ", ".join(f"two {name} {mean:.2f}x [{low:.2f}, {high:.2f}]" for name, (mean, low, high) in found.items())


def compare(paths: list[Path], peer_kilobytes: float) -> dict[str, Any]:
    """Return all speeds and ratios."""
    texts = [text for path in paths for text in pq.read_table(path, columns=["text"])["text"].to_pylist()]
    size = sum(len(text.encode()) for text in texts)
    subset = [text for text in texts[:: max(1, round(size / (peer_kilobytes * 1000)))] if text.strip()]
    subset_size = sum(len(text.encode()) for text in subset)
    found: dict[str, Any] = {"megabytes": size / 1e6, "documents": len(texts)}
    ceiling = timed("hash", [20] * 16)
    found["ceiling"] = {"two_threads": ceiling.threads, "two_processes": ceiling.processes}
    found |= {"peer_megabytes": subset_size / 1e6, "peer_documents": len(subset)}
    for name in ("every", "chain"):
        ours = timed(name, paths)
        theirs = subset_size / 1e6 / peer(subset, name == "every")
        found[name] = {
            "ours_mb_s": size / 1e6 / ours.cpu,
            "datatrove_mb_s": theirs,
            "ratio": size / 1e6 / ours.cpu / theirs,
            "two_threads": ours.threads,
            "two_processes": ours.processes,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=110)
    parser.add_argument("--peer-kilobytes", type=float, default=700)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(int(args.child[0]), [Path(path) for path in args.child[1:]])
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "shards").mkdir()
        paths = shards(Path(scratch) / "shards", args.megabytes)
        found = compare(paths, args.peer_kilobytes)
        found["redecide_documents_s"] = redecide(
            stored_measures(paths, Path(scratch) / "stored"), Path(scratch) / "out"
        )
        if args.memory:
            found["peak_mb"] = {f"{times}x": memory(paths, times) for times in (1, 3, 10)}
    if args.json:
        print(json.dumps(found))
        return None
    print(
        f"{found['megabytes']:.1f} MB, {found['documents']} documents; datatrove on {found['peer_documents']} of them"
    )
    for name, about in (("every", "all four on every document"), ("chain", "in order, with C4's rewriting")):
        row = found[name]
        print(
            f"{about}: ours {row['ours_mb_s']:.1f} MB/s, datatrove {row['datatrove_mb_s']:.3f} MB/s a core, "
            f"{row['ratio']:.0f}x; {gains(row)}"
        )
    print(f"a bare hash: {gains(found['ceiling'])}")
    print(f"decide anew: {found['redecide_documents_s'] / 1e6:.2f} M documents/s")
    for times, peak in found.get("peak_mb", {}).items():
        print(f"peak memory, {times} the input: {peak:.0f} MB")
    return None


if __name__ == "__main__":
    main()
