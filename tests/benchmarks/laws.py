"""Mixing laws: do they rank larger models, cover, and propose mixes that are better, on simulated and real tables?

    python tests/benchmarks/laws.py [--part worlds|tables|all] [--draws 4] [--targets bpb_mean,...] [--full] [--json]

Ranks: Spearman's correlation of a law fitted to 34, 64 and 128 small runs with the losses of larger models on other
mixes, mean and smallest over draws of the small runs. Coverage: of new small runs by 95 % intervals. Proposals: the
true loss of the proposed mix is below that of the best run ("beats"), and inside the printed interval ("inside").
In simulated worlds truth is known. On tables it is an oracle of another kind, the `gp` form on logarithms, fitted to
the small runs that the law did not learn from. "oracle error" is its own error on left-out runs among the lowest tenth,
in spreads of the losses: where it is as large as the gain of a proposal, the oracle cannot judge proposals.
Trees are scikit-learn's, fitted to 512 small runs, where it is installed. The tables lie in tests/benchmarks/tables:
proxies.parquet and larger.parquet, with columns weight_<domain>, bpb_<held-out domain> and bpb_mean.
TUNED are the columns on which the laws' priors were chosen; the others confirm them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from law_worlds import KINDS, world
from scipy.stats import spearmanr

from windtunnel.schemas import plugin
from windtunnel.trainer.laws._form import LawForm, Predict
from windtunnel.trainer.laws._parts import fitted
from windtunnel.trainer.laws.gp import GaussianProcess
from windtunnel.trainer.stats import law
from windtunnel.trainer.stats.proposal import propose

TABLES = Path(__file__).parent / "tables"
TUNED = ("bpb_code", "bpb_novel", "bpb_encyclopedia_es", "bpb_dialogue", "bpb_web")
SEVERAL = "bpb_*"  # the mean of all held-out domains, each with its own law
CONFIRMED = (SEVERAL, "bpb_mean", "bpb_drama", "bpb_encyclopedia_fr", "bpb_help_zh", "bpb_sqlite_docs")
RUNS = (34, 64, 128)
NEW = 200  # mixes that intervals are tried on
ON = 512  # small runs that trees learn from


@dataclass(frozen=True)
class Draw:
    """Small runs to learn from, larger models to rank, new small runs to cover, and the truth of small models."""

    weights: np.ndarray
    target: np.ndarray
    larger_weights: np.ndarray
    larger: np.ndarray
    new_weights: np.ndarray
    new: np.ndarray
    truth: Callable[[np.ndarray], np.ndarray]


def from_world(kind: Any, domains: int, noise: float, runs: int, seed: int) -> Draw:
    """Return a draw of runs; `noise` is relative to the spread of the losses."""
    here, rng = world(kind, domains, seed), np.random.default_rng([seed, runs])
    weights, larger, new = here.mixes(runs, rng), here.mixes(64, rng), here.mixes(NEW, rng)
    deviation = noise * float(here.small(new).std())
    measured = [here.small(mixes) + rng.normal(0, deviation, len(mixes)) for mixes in (weights, new)]
    return Draw(weights, measured[0], larger, here.large(larger), new, measured[1], here.small)


def columns(table: pl.DataFrame, target: str) -> list[str]:
    """Return the columns of a target; `bpb_mean` is no part of SEVERAL."""
    return (
        [name for name in table.columns if name.startswith("bpb_") and name != "bpb_mean"]
        if target == SEVERAL
        else [target]
    )


def mean_of(table: pl.DataFrame, target: str) -> np.ndarray:
    return table.select(columns(table, target)).to_numpy().mean(axis=1)


def oracle(weights: np.ndarray, losses: np.ndarray, near: Predict | None = None) -> tuple[Predict, Predict]:
    """Return a fit of losses, and that of their logarithms above 0.8 of the smallest, from which a refit may start."""
    floor = 0.8 * float(losses.min())
    logs = GaussianProcess().fit(weights, np.log(losses - floor), near)
    return lambda mixes: floor + np.exp(logs(mixes)), logs


def oracle_error(weights: np.ndarray, losses: np.ndarray, near: Predict) -> float:
    """Return the oracle's error on left-out runs of the lowest tenth, in spreads of the losses."""
    fold, lowest, errors = np.random.default_rng(0).permutation(len(losses)) % 8, np.quantile(losses, 0.1), []
    for k in range(8):
        out = (fold == k) & (losses <= lowest)
        errors.append(oracle(weights[fold != k], losses[fold != k], near)[0](weights[out]) - losses[out])
    return float(np.sqrt(np.square(np.concatenate(errors)).mean()) / losses.std())


@dataclass(frozen=True)
class Tables:
    """Both tables, with weights scaled to sum to one."""

    small: pl.DataFrame
    larger: pl.DataFrame

    def weights(self, of: pl.DataFrame) -> np.ndarray:
        found = of.select(pl.col("^weight_.*$")).to_numpy()
        return found / found.sum(axis=1, keepdims=True)

    def draw(self, target: str, runs: int, seed: int, near: Predict) -> Draw:
        """Return a draw whose truth is an oracle fitted to the runs that it does not learn from, starting at `near`."""
        order = np.random.default_rng([seed, runs]).permutation(len(self.small))
        weights, losses = self.weights(self.small), mean_of(self.small, target)
        parts = self.small.select(columns(self.small, target)).to_numpy()
        learnt, new = order[:runs], order[runs : runs + NEW]
        larger = self.weights(self.larger), mean_of(self.larger, target)
        truth = oracle(weights[order[runs:]], losses[order[runs:]], near)[0]
        return Draw(weights[learnt], parts[learnt], *larger, weights[new], losses[new], truth)


def form_of(draw: Draw, form: str) -> str:
    """Return the form, as `auto` would take it where the target is the mean of several."""
    return law.AUTO_OF_SEVERAL if form == law.AUTO and draw.target.ndim == 2 and draw.target.shape[1] > 1 else form


def ranks(draws: list[Draw], form: str) -> dict[str, Any]:
    """Return the mean and the smallest correlation with the larger models."""
    found = []
    for draw in draws:
        parts = draw.target.reshape(len(draw.target), -1)
        predict = fitted(plugin.make(LawForm, form_of(draw, form)), draw.weights, parts)
        found.append(float(spearmanr(predict(draw.larger_weights), draw.larger).statistic))
    return {"mean": float(np.mean(found)), "min": float(np.min(found))}


def promises(draws: list[Draw], form: str) -> dict[str, Any]:
    """Return the coverage of intervals and what became of the proposals, means over draws."""
    found = []
    for draw in draws:
        started = time.perf_counter()
        names = [str(i) for i in range(draw.weights.shape[1])]
        learnt = law.fit(draw.weights, draw.target, names, form_of(draw, form))
        proposal = propose(learnt)
        seconds = time.perf_counter() - started
        _, low, high = learnt.predict(draw.new_weights)
        runs = draw.target.reshape(len(draw.target), -1).mean(axis=1)
        value = float(draw.truth(np.array([list(proposal["weights"].values())]))[0])
        best = float(draw.truth(draw.weights[[int(np.argmin(runs))]])[0])
        found.append(
            {
                "coverage": float(((low <= draw.new) & (draw.new <= high)).mean()),
                "inside": float(proposal["low"] <= value <= proposal["high"]),
                "beats": float(value < best),
                "gain": (best - value) / float(runs.std()),
                "seconds": seconds,
            }
        )
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def trees(tables: Tables, target: str) -> float | None:
    """Return the correlation that boosted trees reach from 512 small runs; None without scikit-learn."""
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor  # type: ignore[import-not-found]
    except ImportError:
        return None
    weights, losses = tables.weights(tables.small)[:ON], mean_of(tables.small, target)[:ON]
    grown = HistGradientBoostingRegressor(
        max_iter=300, learning_rate=0.06, max_leaf_nodes=8, min_samples_leaf=8, random_state=0
    ).fit(weights, losses)
    predicted = grown.predict(tables.weights(tables.larger))
    return float(spearmanr(predicted, mean_of(tables.larger, target)).statistic)


def cell(draws: Callable[[int], list[Draw]], form: str) -> dict[str, Any]:
    """Return the ranks for every number of runs and the promises at 64 runs."""
    ranked = {str(runs): ranks(draws(runs), form) for runs in RUNS}
    return {"ranks": ranked, **promises(draws(64), form)}


def on_worlds(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the figures of every kind of world."""
    found = []
    for domains, noise in ((17, 0.1), (5, 0.1), (17, 0.3)) if args.full else ((17, 0.1), (5, 0.2)):
        for kind in KINDS:
            words = f"{kind.__name__}, {domains} domains, noise {noise}"
            draws = lambda runs: [from_world(kind, domains, noise, runs, seed) for seed in range(args.draws)]  # noqa: E731, B023
            found.append(told({"table": words, **cell(draws, args.form)}, args.json))
    return found


def on_tables(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the figures of every target column, or nothing without the tables."""
    files = [TABLES / "proxies.parquet", TABLES / "larger.parquet"]
    if not all(file.exists() for file in files):
        print(f"no tables in {TABLES}")
        return []
    tables, found = Tables(*map(pl.read_parquet, files)), []
    for target in args.targets.split(","):
        weights, losses = tables.weights(tables.small), mean_of(tables.small, target)
        near = oracle(weights, losses)[1]
        missed = oracle_error(weights, losses, near)
        draws = lambda runs: [tables.draw(target, runs, seed, near) for seed in range(args.draws)]  # noqa: E731, B023
        words = f"{target} ({'tuned on' if target in TUNED else 'confirms'})"
        found.append(
            told(
                {
                    "table": words,
                    "trees_on_512": trees(tables, target),
                    "oracle_error": missed,
                    **cell(draws, args.form),
                },
                args.json,
            )
        )
    return found


def told(row: dict[str, Any], as_json: bool) -> dict[str, Any]:
    """Print one row where people read, and return it."""
    if not as_json:
        ranked = "  ".join(f"{runs}: {of['mean']:.3f} (min {of['min']:.3f})" for runs, of in row["ranks"].items())
        beside = f"  trees on 512: {row['trees_on_512']:.3f}" if row.get("trees_on_512") is not None else ""
        print(f"{row['table']:42s} rank {ranked}{beside}")
        missed = f"  oracle error {row['oracle_error']:.2f} sd" if "oracle_error" in row else ""
        print(
            f"{'':42s} coverage {row['coverage']:.3f}  inside {row['inside']:.2f}  beats {row['beats']:.2f}"
            f"  gain {row['gain']:+.2f} sd  {row['seconds']:.1f} s{missed}",
            flush=True,
        )
    return row


def main() -> None:
    """Print the figures of worlds, of tables, and their means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("worlds", "tables", "all"), default="all")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--targets", default=",".join(CONFIRMED))
    parser.add_argument("--form", default="stack")
    parser.add_argument("--full", action="store_true", help="noisier worlds too")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [*(on_worlds(args) if args.part != "tables" else []), *(on_tables(args) if args.part != "worlds" else [])]
    if args.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        means = {name: float(np.mean([row[name] for row in rows])) for name in ("coverage", "inside", "beats")}
        print("means: " + "  ".join(f"{name} {value:.3f}" for name, value in means.items()))


if __name__ == "__main__":
    main()
