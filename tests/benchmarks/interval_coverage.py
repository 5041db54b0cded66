"""Coverage of nominal 95 % intervals under noise of several kinds: ours, t over seeds, bootstrap, the wider of the two.

python tests/benchmarks/interval_coverage.py [--tables 1500] [--seeds 3]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from windtunnel.trainer.stats.intervals import interval, resample
from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Panel

WORLDS = {
    "seeds only": {"run": 0.01},
    "every score by itself": {"score": 0.1},
    "documents only, alike in all seeds": {"run": 0.0001, "shared": 0.1},
    "seeds and documents": {"run": 0.01, "shared": 0.1},
    "all three": {"run": 0.01, "shared": 0.1, "score": 0.1},
    "30 sources": {"run": 0.005, "shared": 0.05, "score": 0.05, "source": 0.05, "sources": 30},
    "a few of 60 hold most bytes": {
        "run": 0.003,
        "shared": 0.05,
        "score": 0.02,
        "documents": 60,
        "spread": 1.5,
    },
    "12 documents": {"run": 0.005, "shared": 0.05, "score": 0.05, "documents": 12, "sources": 2},
}


def table(rng: np.random.Generator, seeds: int, **noise: float) -> Panel:
    """Two mixes whose true difference is zero."""
    documents, sources = int(noise.get("documents", 120)), int(noise.get("sources", 4))
    weights = rng.integers(200, 4000, documents).astype(float)
    if "spread" in noise:
        weights = np.exp(rng.normal(7, noise["spread"], documents))
    source = rng.integers(0, sources, documents).astype(np.int32)
    source[:sources] = np.arange(sources)
    base = rng.normal(2, 0.3, (seeds, documents))
    difference = (
        rng.normal(0, noise.get("run", 0.0), (seeds, 1))
        + rng.normal(0, noise.get("shared", 0.0), documents)
        + rng.normal(0, noise.get("score", 0.0), (seeds, documents))
        + rng.normal(0, noise.get("source", 0.0), sources)[source]
    )
    values = np.stack([base, base + difference]) * weights
    names = tuple(f"s{k:03}" for k in range(sources))
    runs = tuple(str(k) for k in range(seeds))
    return Panel(BITS_PER_BYTE, ("raw", "a"), runs, np.arange(documents), names, source, weights, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    began = time.perf_counter()
    print(f"{args.tables} tables, {args.seeds} seeds; share of intervals that hold the true difference, and mean width")
    print(f"{'noise':<38}{'ours':>16}{'t over seeds':>16}{'bootstrap':>16}{'wider of both':>16}")
    for name, noise in WORLDS.items():
        hits, widths = np.zeros(4), np.zeros(4)
        for number in range(args.tables):
            panel = table(np.random.default_rng([args.seeds, number]), args.seeds, **noise)
            by_run, drawn = panel.by_run(), resample(panel, 400)
            i = interval(by_run[1] - by_run[0], drawn.values[1] - drawn.values[0], drawn.degrees)
            lows = np.array([i.low, i.t_low, i.bootstrap_low, min(i.t_low, i.bootstrap_low)])
            highs = np.array([i.high, i.t_high, i.bootstrap_high, max(i.t_high, i.bootstrap_high)])
            hits += (lows <= 0) & (highs >= 0)
            widths += highs - lows
        cells = "".join(f"{h / args.tables:>8.3f}{w / args.tables:>8.4f}" for h, w in zip(hits, widths, strict=True))
        print(f"{name:<38}{cells}")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
