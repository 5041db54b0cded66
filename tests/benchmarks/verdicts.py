"""Coverage of nominal 95 % intervals and rates of false verdicts in simulated tables, cell by cell.

python tests/benchmarks/verdicts.py [--tables 1000] [--parts coverage,looks,...]

`*` marks a coverage outside 93 to 97 % or a false rate above 5 %, `!` one that lies outside by more than the noise of
the simulation (2.6 standard errors). Tables of documents go through the functions of trainer.stats as they are; parts
that are about decisions draw the effect of a run and the estimates of its errors directly, with 100 degrees of freedom
of the document error. The variance ratio is that of the two parts of the squared error: documents over seeds.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from windtunnel.schemas.results import CLUSTERS_FROM
from windtunnel.trainer.stats.documents import Units
from windtunnel.trainer.stats.effects import effects_by_source
from windtunnel.trainer.stats.interim_analyses import LOOKS, SPENDING, Level, level_of
from windtunnel.trainer.stats.intervals import Errors, errors_of, interval, p_values, reach
from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Panel
from windtunnel.trainer.stats.seeds_needed import needed
from windtunnel.trainer.stats.verdicts import holm, outcome_of

SEEDS = (2, 3, 5, 8)
RATIOS = (0.0, 0.1, 0.3, 1.0, 3.0)
LAWS: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "equal": lambda rng, shape: np.full(shape, 1000.0),
    "lognormal": lambda rng, shape: np.exp(rng.normal(7, 1.0, shape)),
    "pareto": lambda rng, shape: 500 * (rng.pareto(1.0, shape) + 1),  # alpha 1: no mean
}
SOURCES = (2, 5, 10, 20, 40)
DOCUMENTS = 600
RUN = 0.01  # standard deviation of the paired difference of a run
DEGREES = 100.0  # of the document error, where it is drawn directly


def mark(share: float, tables: int, low: float, high: float) -> str:
    noise = 2.6 * np.sqrt(max(share * (1 - share), 0.01) / tables)
    if low <= share <= high:
        return " "
    return "!" if share < low - noise or share > high + noise else "*"


def table_errors(
    rng: np.random.Generator, tables: int, seeds: int, ratio: float, law: str, sources: int, score: float = 0.3
) -> Errors:
    """Return the estimates from tables of documents without any effect."""
    weights = LAWS[law](rng, (tables, DOCUMENTS))
    source = rng.integers(0, sources, DOCUMENTS)
    source[: 2 * sources] = np.tile(np.arange(sources), 2)
    documents = np.arange(DOCUMENTS)
    whole = np.zeros(DOCUMENTS, dtype=np.int64)
    clustered = sources >= CLUSTERS_FROM
    units = Units(weights, source, whole) if clustered else Units(weights, documents, source)
    # half of the variance of documents is that of their sources where these are the sample
    own = np.sqrt(ratio * Units(weights, documents, whole).kish / seeds / (1 + clustered)) * RUN
    differences = rng.normal(0, RUN, (tables, seeds, 1)) + rng.normal(0, 1, (tables, 1, DOCUMENTS)) * own[:, None, None]
    if clustered:
        alike = np.sqrt(ratio * units.kish / seeds / 2) * RUN
        differences += (rng.normal(0, 1, (tables, sources)) * alike[:, None])[:, None, source]
    if score:
        noise = score * RUN * np.sqrt(Units(weights, documents, whole).kish)
        differences += rng.normal(0, 1, (tables, seeds, DOCUMENTS)) * noise[:, None, None]
    differences *= weights[:, None]
    by_run = differences.sum(axis=2) / weights.sum(axis=1)[:, None]
    return errors_of(by_run, units.variances(differences), units.degrees)


def coverage(tables: int) -> Iterator[str]:
    """Coverage by seeds, ratio, law and sources; the false verdicts are the rest."""
    yield f"{'':<24}" + "".join(f"ratio {ratio:<5}" for ratio in RATIOS)
    low, high, outside, cells = 1.0, 0.0, [], 0
    for law in LAWS:
        for sources in SOURCES:
            for seeds in SEEDS:
                line = f"{law:<10}{sources:>3} sources {seeds:>2} "
                for ratio in RATIOS:
                    rng = np.random.default_rng([seeds, sources, int(10 * ratio), list(LAWS).index(law)])
                    errors = table_errors(rng, tables, seeds, ratio, law, sources)
                    share = float((np.abs(errors.effect) <= reach(errors, 0.05)).mean())
                    sign = mark(share, tables, 0.93, 0.97)
                    line += f"{share:>9.3f}{sign} "
                    low, high, cells = min(low, share), max(high, share), cells + 1
                    if sign == "!":
                        outside.append(f"{law}, {sources} sources, {seeds} seeds, ratio {ratio}: {share:.3f}")
                yield line
    yield f"{cells} cells, coverage {low:.3f} to {high:.3f}; {len(outside)} outside 93-97 % by more than noise:"
    yield from (f"  {cell}" for cell in outside)


class Runs:
    """Tables of runs whose seeds are drawn one after the other, and one document error a table."""

    def __init__(self, rng: np.random.Generator, tables: int, ratio: float, at: int, effect: float, most: int) -> None:
        """`ratio` is that of the variances with `at` seeds; `effect` is in standard deviations of a run."""
        self.runs = rng.normal(effect * RUN, RUN, (tables, most))
        self.document = RUN * np.sqrt(ratio / at)
        self.shift = rng.normal(0, 1, tables) * self.document
        self.scale = np.sqrt(rng.chisquare(DEGREES, tables) / DEGREES)

    def errors(self, seeds: int, chosen: np.ndarray | slice = slice(None)) -> Errors:
        runs = self.runs[chosen, :seeds]
        seed = runs.std(axis=1, ddof=1) / np.sqrt(seeds)
        effect = runs.mean(axis=1) + self.shift[chosen]
        return Errors(effect, seed, self.document * self.scale[chosen], seeds, DEGREES)


def population(tables: int) -> Iterator[str]:
    """Coverage of the mean over all sources where few differ (sd 0.05): by the interval on these, and in general."""
    for number in (2, 5, 10, 19):
        for seeds in (3, 5):
            rng = np.random.default_rng([13, number, seeds])
            weights = LAWS["lognormal"](rng, (tables, 30 * number))
            source = np.arange(30 * number) % number
            differences = rng.normal(0, RUN, (tables, seeds, 1)) + rng.normal(0, 0.05, (tables, 1, number))[..., source]
            differences += rng.normal(0, 0.05, (tables, 1, 30 * number))
            differences *= weights[:, None]
            by_run = differences.sum(axis=2) / weights.sum(axis=1)[:, None]
            strata = Units(weights, np.arange(30 * number), source)
            clusters = Units(weights, source, np.zeros(30 * number, dtype=np.int64))
            shares, wide = [], np.zeros(tables)
            for units in (strata, clusters):
                errors = errors_of(by_run, units.variances(differences), units.degrees)
                wide = np.maximum(wide, reach(errors, 0.05))
                shares.append(float((np.abs(errors.effect) <= wide).mean()))
            yield (
                f"{number:>2} sources, {seeds} seeds: on these sources {shares[0]:.3f}, for such sources in general "
                f"{shares[1]:.3f}{mark(shares[1], tables, 0.93, 0.97)}"
            )


def looks(tables: int) -> Iterator[str]:
    """False verdicts with several looks at 3, 5, 8 and 12 seeds, and the power and seeds at larger effects."""
    plans = {spending: [level_of(n, looks=LOOKS, spending=spending).alpha for n in LOOKS] for spending in SPENDING}
    plans["each look at 5 %"] = [0.05] * len(LOOKS)
    plans["after 3, 5, 8"] = [level_of(n, after=LOOKS[:k]).alpha for k, n in enumerate(LOOKS)]
    yield f"{'':<20}{'ratio':>6}{'false':>8} {'decided, mean seeds at effects of 1, 2, 4 sd':>52}"
    for name, levels in plans.items():
        for ratio in (0.0, 0.3, 1.0):
            cells = []
            for effect in (0.0, 1.0, 2.0, 4.0):
                runs = Runs(np.random.default_rng([7, int(10 * ratio), int(effect)]), 4 * tables, ratio, 12, effect, 12)
                done, used = np.zeros(4 * tables, dtype=bool), np.full(4 * tables, LOOKS[-1])
                for n, level in zip(LOOKS, levels, strict=True):
                    errors = runs.errors(n)
                    new = (np.abs(errors.effect) > reach(errors, level)) & ~done
                    used[new], done = n, done | new
                cells.append((done.mean(), used.mean()))
            false = cells[0][0]
            limit = 0.0625 if name.startswith("after") else 0.05
            rest = "".join(f"{share:>10.3f} {used:>6.2f}" for share, used in cells[1:])
            yield f"{name:<20}{ratio:>6}{false:>7.3f}{mark(false, 4 * tables, 0, limit)}{rest}"


def advice(tables: int) -> Iterator[str]:
    """False verdicts of people who follow the advice of an undecided effect, once, and judge it as it says."""
    for seeds in (3, 5):
        for ratio in (0.0, 0.3):
            runs = Runs(np.random.default_rng([8, seeds, int(10 * ratio)]), tables, ratio, seeds, 0.0, 1000)
            errors = runs.errors(seeds)
            first = np.abs(errors.effect) > reach(errors, 0.05)
            second, plain, followed = 0, 0, 0
            for k in np.flatnonzero(~first):
                more = needed(one(errors, k), Level(0.05), DOCUMENTS)
                if more.seeds is None:
                    continue
                followed += 1
                later = runs.errors(more.seeds, slice(k, k + 1))
                second += abs(later.effect[0]) > reach(later, level_of(more.seeds, after=(seeds,)).alpha)[0]
                plain += abs(later.effect[0]) > reach(later, 0.05)[0]
            false = (first.sum() + second) / tables
            yield (
                f"{seeds} seeds, ratio {ratio}: {false:.3f}{mark(float(false), tables, 0, 0.06)} false in all (stated: "
                f"6 %), {first.mean():.3f} at the first look; {followed} of {tables} followed; "
                f"judged at 5 % again it would be {(first.sum() + plain) / tables:.3f}"
            )


def one(errors: Errors, k: int) -> Errors:
    return replace(errors, effect=errors.effect[k], seed=errors.seed[k], document=errors.document[k])


def sources(tables: int) -> Iterator[str]:
    """A/A tables in which a sentence names some source, or in which a single cell leaves zero out."""
    for number, seeds, mixes in ((5, 3, 1), (10, 5, 1), (10, 5, 3)):
        named = single = 0
        for table in range(tables):
            rng = np.random.default_rng([9, number, seeds, mixes, table])
            matrix = effects_by_source(a_a(rng, seeds, mixes + 1, number, 20 * number))
            named += bool(matrix["named"].any())
            single += bool(((matrix["low"] > 0) | (matrix["high"] < 0)).fill_null(False).any())
        share = named / tables
        yield (
            f"{number} sources, {seeds} seeds, {mixes} mixes: named in {share:.3f}{mark(share, tables, 0, 0.05)} of "
            f"the tables; some single cell leaves zero out in {single / tables:.3f}"
        )


def a_a(rng: np.random.Generator, seeds: int, mixes: int, number: int, documents: int) -> Panel:
    weights = np.exp(rng.normal(7, 0.7, documents))
    source = (np.arange(documents) % number).astype(np.int32)
    values = rng.normal(0, RUN, (mixes, seeds, 1)) + rng.normal(0, RUN, (mixes, seeds, number))[..., source]
    values = values + rng.normal(2, 0.2, documents) + rng.normal(0, 0.02, (mixes, seeds, documents))
    values += rng.normal(0, 0.02, (mixes, 1, documents))
    names = tuple(f"s{k:02}" for k in range(number))
    mix_names = ("raw", *(f"m{k}" for k in range(mixes - 1)))
    seed_names = tuple(map(str, range(seeds)))
    at = np.arange(documents)
    return Panel(BITS_PER_BYTE, mix_names, seed_names, at, names, source, weights, values * weights)


def mixes(tables: int) -> Iterator[str]:
    """Tables with any false verdict among 30 equal mixes that share a baseline."""
    for seeds in SEEDS:
        for ratio in (0.0, 0.3, 1.0):
            rng = np.random.default_rng([10, seeds, int(10 * ratio)])
            runs = rng.normal(0, RUN / np.sqrt(2), (tables, 31, seeds))
            runs = runs[:, 1:] - runs[:, :1]
            document = RUN * np.sqrt(ratio / seeds)
            shift = rng.normal(0, document / np.sqrt(2), (tables, 31))
            effect = runs.mean(axis=2) + shift[:, 1:] - shift[:, :1]
            scale = np.sqrt(rng.chisquare(DEGREES, effect.shape) / DEGREES)
            errors = Errors(effect, runs.std(axis=2, ddof=1) / np.sqrt(seeds), document * scale, seeds, DEGREES)
            share = float(np.mean([min(holm(p)) < 0.05 for p in p_values(errors).tolist()]))
            yield f"{seeds} seeds, ratio {ratio}: {share:.3f}{mark(share, tables, 0, 0.05)} of the tables"


def outcomes(tables: int) -> Iterator[str]:
    """The five outcomes with a margin of two standard errors or five, at true effects of 0 to 3 margins."""
    yield f"{'':<36}{'better':>9}{'worse':>9}{'equivalent':>12}{'direction':>11}{'undecided':>11}{'false':>9}"
    for seeds in (3, 8):
        for wide in (2.0, 5.0):
            margin = wide * RUN / np.sqrt(seeds)
            for effect in (0.0, 0.5, 1.0, 1.5, 3.0):
                rng = np.random.default_rng([11, seeds, int(wide), int(10 * effect)])
                errors = Runs(rng, tables, 0.3, seeds, effect * margin / RUN, seeds).errors(seeds)
                found: Counter[str] = Counter()
                for k in range(tables):
                    i = interval(one(errors, k), 0.05, margin)
                    found[outcome_of(i, i.p, i.p_margin, 0.05, margin, "lower")] += 1
                false = found["better"] + found["worse"] * (effect <= 1) + found["equivalent"] * (effect >= 1)
                false += found["direction"] * (effect == 0)
                share = false / tables
                cells = [found[name] / tables for name in ("better", "worse", "equivalent", "direction", "undecided")]
                row = "".join(f"{c:>{w}.3f}" for c, w in zip(cells, (9, 9, 12, 11, 11), strict=True))
                head = f"{seeds} seeds, margin {wide} se, effect {effect} m"
                yield f"{head:<36}{row}{share:>9.3f}{mark(share, tables, 0, 0.05)}"


def needed_seeds(tables: int) -> Iterator[str]:
    """How often the advised seeds decide, and how often the range holds the number that the truth needs."""
    yield f"{'':<34}{'undecided':>10}{'true need':>11}{'median':>8}{'10-90 %':>14}{'decided':>9}{'in range':>10}"
    for seeds in (3, 5):
        for ratio in (0.0, 0.1):
            for effect in (0.7, 1.0, 1.5):
                rng = np.random.default_rng([12, seeds, int(10 * ratio), int(10 * effect)])
                runs = Runs(rng, tables, ratio, seeds, effect, 1000)
                errors = runs.errors(seeds)
                exact = Errors(effect * RUN, RUN / np.sqrt(seeds), runs.document, seeds, DEGREES)
                true = needed(exact, Level(0.05), DOCUMENTS).seeds
                told, decided, within, asked = [], 0, 0, 0
                for k in np.flatnonzero(np.abs(errors.effect) <= reach(errors, 0.05)):
                    more = needed(one(errors, k), Level(0.05), DOCUMENTS)
                    asked += 1
                    within += (more.low or 1001) <= (true or 1001) <= (more.high or 1001)
                    if more.seeds is None:
                        continue
                    told.append(more.seeds)
                    later = runs.errors(more.seeds, slice(k, k + 1))
                    decided += abs(later.effect[0]) > reach(later, 0.01)[0]
                low, middle, high = np.quantile(told, [0.1, 0.5, 0.9])
                yield (
                    f"{seeds} seeds, ratio {ratio}, effect {effect} sd    {asked / tables:>10.3f}{true or 0:>11}"
                    f"{middle:>8.0f}{low:>7.0f}-{high:<6.0f}{decided / len(told):>9.3f}{within / asked:>10.3f}"
                )


PARTS: dict[str, Callable[[int], Iterator[str]]] = {
    "coverage": coverage,
    "population": population,
    "looks": looks,
    "advice": advice,
    "sources": sources,
    "mixes": mixes,
    "outcomes": outcomes,
    "needed": needed_seeds,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--parts", default=",".join(PARTS))
    args = parser.parse_args()
    for name in args.parts.split(","):
        began = time.perf_counter()
        print(f"\n{name}: {PARTS[name].__doc__} ({args.tables} tables)", flush=True)
        for line in PARTS[name](args.tables):
            print(line, flush=True)
        print(f"{time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
