"""What a right verdict costs: CPU-seconds until a difference of 0.01 bits per byte is called right, ours and the usual.

    python tests/benchmarks/cost_per_verdict.py [--effect 0.01] [--train SEEDS --store DIR]

The usual protocol trains 5 or more runs a side with seeds of their own, on windows cut at random out of the shuffled
documents, and takes a t test. Ours pairs runs by seed, on streams in stratified order (trainer.data.sampler). Both
train the same model with the same schedule for the same tokens, so the costs compare as the numbers of runs do.

The spread is that of `tables/runs.parquet`: the quickstart's model on its raw corpus and on a random four fifths of its
documents, 64 seeds each, trained on a GPU (tables/README.md). The numbers of runs follow from the
noncentral t distribution and are confirmed by planting: runs are drawn from the table, the effect is added to one side,
and the share of right verdicts is counted. `--train` trains runs of the quickstart here, on its raw corpus and on that
without exact duplicates, and prints their spread and CPU-seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from windtunnel.trainer.data.domain import Domain
from windtunnel.trainer.data.sampler import read_mix
from windtunnel.trainer.objectives._mix_objective import Rows
from windtunnel.trainer.objectives._objective import Data, Setting
from windtunnel.trainer.objectives.causal_lm import CausalLM

TABLE = Path(__file__).parent / "tables" / "runs.parquet"
USUAL_FEWEST = 5  # runs a side
ALPHA = 0.05
PLANTED = 2000
SECONDS = 50.0  # CPU-seconds of such a run with its evaluation, where none is trained here


class RandomWindows:
    """Windows at random offsets of the concatenated documents of a corpus, as in nanoGPT."""

    def __init__(self, domain: Domain, seed: int, context: int, number: int) -> None:
        self.domain, self.context, self.number = domain, context, number
        self._shards = domain._shards
        sizes = np.array([max(0, len(shard) - context - 1) for shard in self._shards], float)
        rng = np.random.default_rng(seed)
        self._shard = rng.choice(len(sizes), number, p=sizes / sizes.sum())
        self._start = (rng.random(number) * sizes[self._shard]).astype(np.int64)

    def tokens(self, first: int, last: int) -> np.ndarray:
        rows = [(self._shards[self._shard[k]], self._start[k]) for k in range(first, last)]
        return np.stack([shard[at : at + self.context + 1].astype(np.int64) for shard, at in rows])

    def documents(self, first: int, last: int) -> dict[Domain, list[int]]:
        return {self.domain: list(range(first, last))}  # windows stand for documents

    def realised(self) -> list[dict[str, Any]]:
        return []


class UsualCausalLM(CausalLM):
    """The objective with the usual sampling."""

    def open(self, setting: Setting, model: Any) -> Data:
        shares, budget = read_mix(setting.inputs["mix"])
        rows = self.batch_tokens // setting.context
        domain = Domain(shares[0].name, setting.inputs[f"tokens:{shares[0].name}"], 0, setting.context, 256)
        steps = budget // (rows * setting.context)
        windows: Any = RandomWindows(domain, setting.seed, setting.context, steps * rows)
        return Rows(windows, rows, rows, lambda ids, generator: {"ids": ids}, setting.seed)


def power(runs: int, effect: float, sd: float, paired: bool) -> float:
    """Return the probability that a t test finds an effect in the right direction; sd: of a run, or of a pair."""
    degrees, error = (runs - 1, sd / math.sqrt(runs)) if paired else (2 * runs - 2, sd * math.sqrt(2 / runs))
    critical = stats.t.ppf(1 - ALPHA / 2, degrees)
    return float(stats.nct.sf(critical, degrees, effect / error))


def needed(effect: float, sd: float, wanted: float, paired: bool) -> int:
    """Return the smallest number of runs a side with a power of `wanted`."""
    runs = 2 if paired else USUAL_FEWEST
    while power(runs, effect, sd, paired) < wanted:
        runs += 1
    return runs


def planted(a: np.ndarray, b: np.ndarray, effect: float, runs: int, paired: bool) -> float:
    """Return the share of right verdicts over draws of `runs` seeds from centred runs with the effect added."""
    rng, right = np.random.default_rng(0), 0
    a, b = a - a.mean(), b - b.mean()
    for _ in range(PLANTED):
        one, other = rng.integers(0, len(a), (2, runs))
        if paired:
            test = stats.ttest_1samp(b[one] + effect - a[one], 0.0)
        else:
            test = stats.ttest_ind(b[other] + effect, a[one])
        right += bool(test.pvalue < ALPHA and test.statistic > 0)
    return right / PLANTED


def rows_of(table: pl.DataFrame, effect: float) -> list[dict[str, Any]]:
    """Return a row for each way of sampling and protocol."""
    rows = []
    keys = ["sampling", "batch_tokens", "lr", "piece"]
    for key, group in table.group_by(keys, maintain_order=True):
        a, b = (
            group.filter(pl.col("mix") == mix).sort("seed")["bits_per_byte"].to_numpy()
            for mix in ("raw", "four_fifths")
        )
        for paired in (False, True):
            sd = float((b - a).std(ddof=1)) if paired else float(np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))
            counts = {wanted: needed(effect, sd, wanted, paired) for wanted in (0.8, 0.95)}
            share = planted(a, b, effect, counts[0.8], paired)
            named = dict(zip(keys, key, strict=True))
            rows.append(named | {"paired": paired, "mean": a.mean(), "sd": sd, "runs": counts, "planted": share})
    return rows


def show(rows: list[dict[str, Any]], effect: float, seconds: float) -> None:
    """Print the table and the ratio of the usual to ours at the same learning rate and batch."""
    print(f"runs a side until {effect:g} bits per byte is called right, 64 seeds, CPU-seconds at {seconds:.0f} a run")
    print(f"{'sampling':<40}{'batch':>6}{'lr':>7} {'runs are':<12}{'mean':>7}{'sd':>8}", end="")
    print(f"{'80 %':>6}{'95 %':>6}{'CPU-s':>9}{'CPU-s':>9}{'planted':>9}")
    for row in rows:
        cost = [2 * row["runs"][wanted] * seconds for wanted in (0.8, 0.95)]
        print(
            f"{row['sampling']:<40}{row['batch_tokens']:>6}{row['lr']:>7.0e} "
            f"{'paired' if row['paired'] else 'independent':<12}{row['mean']:>7.3f}{row['sd']:>8.4f}"
            f"{row['runs'][0.8]:>6}{row['runs'][0.95]:>6}{cost[0]:>9,.0f}{cost[1]:>9,.0f}{row['planted']:>9.3f}"
        )
    for batch, lr in dict.fromkeys((row["batch_tokens"], row["lr"]) for row in rows):
        here = [row for row in rows if (row["batch_tokens"], row["lr"]) == (batch, lr)]
        usual = [row for row in here if not row["paired"] and row["sampling"].startswith("one stream, pieces of 1")]
        ours = [row for row in here if row["paired"] and row["sampling"].startswith("stratified")]
        for row in ours if usual else []:
            ratios = [usual[0]["runs"][wanted] / row["runs"][wanted] for wanted in (0.8, 0.95)]
            print(f"batch {batch}, lr {lr:g}, {row['sampling']}: the usual costs {ratios[0]:.1f} and {ratios[1]:.1f} x")


def trained(seeds: int, store: str) -> float:
    """Train runs of the quickstart both ways; print their spread and return the CPU-seconds of a run."""
    from windtunnel.pipelines.engine.executors import Where
    from windtunnel.pipelines.engine.mirrors.opening import open_store
    from windtunnel.pipelines.engine.run import run
    from windtunnel.pipelines.plan.builder import planned
    from windtunnel.trainer.loop.train import Stage, train

    sets = [f"store={store}", "corpora.exact={from: raw, dedup: exact}", "mixes={raw: {raw: 1}, exact: {exact: 1}}"]
    plan = planned("quickstart", [*sets, "corpora.filtered=null", "corpora.deduped=null"])
    opened = open_store(plan.recipe.store)
    mixes = {step.name.names[0]: step for step in plan.steps if step.kind == "mix"}
    run([step for step in plan.steps if step.kind in ("mix", "held_out", "tokenizer")], opened, Where(workers=2))
    settings = plan.recipe.train
    assert settings is not None
    found: dict[tuple[str, str], list[float]] = {}
    cpu = []
    for seed in range(seeds):
        for mix, step in mixes.items():
            common = {name: plan.find(name).artifact(opened) for name in ("tokenizer", "held_out")}  # type: ignore[union-attr]
            inputs = {**common, "mix": step.artifact(opened), **{r: s.artifact(opened) for r, s in step.inputs.items()}}
            for kind, shift in (("ours", 0), ("usual", 1000 if mix == "raw" else 2000)):
                stage = Stage.from_specs(mix, seed + shift, settings.model, settings.schedule, settings.stages[0])
                if kind == "usual":
                    objective = UsualCausalLM(**stage.objective.model_dump())
                    stage = replace(stage, objective=objective)
                result = train(stage, inputs, Path(store) / "verdicts" / f"{kind}.{mix}.{seed}")
                assert result.held_out is not None
                found.setdefault((kind, mix), []).append(result.held_out.nats / math.log(2) / result.held_out.bytes)
                cpu.append(result.cpu_seconds)
    for kind in ("usual", "ours"):
        raw, exact = (np.array(found[kind, mix]) for mix in ("raw", "exact"))
        print(
            f"{kind:<6} {seeds} seeds: raw {raw.mean():.4f} (sd {raw.std(ddof=1):.4f}), exact {exact.mean():.4f} "
            f"(sd {exact.std(ddof=1):.4f}), sd of the paired difference {(exact - raw).std(ddof=1):.4f}"
        )
    print(json.dumps({"cpu_seconds_a_run": statistics.median(cpu)}))
    return statistics.median(cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--effect", type=float, default=0.01)
    parser.add_argument("--train", type=int, default=0, metavar="SEEDS")
    parser.add_argument("--store", default="runs/quickstart")
    args = parser.parse_args()
    seconds = trained(args.train, args.store) if args.train else SECONDS
    show(rows_of(pl.read_parquet(TABLE), args.effect), args.effect, seconds)


if __name__ == "__main__":
    main()
