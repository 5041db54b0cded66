"""Mixing laws: predict the score of untrained mixes from the runs of other mixes.

`windtunnel law` and the proposals of trainer.stats.proposal use it. The forms of trainer/laws are evaluated on mixes
that were left out, one by one (interpolation) and in folds of corners and of the lowest targets (extrapolation). `auto`
takes the stack, which weighs the forms that are bounded below by both. Intervals are jackknife+ (Barber et al. 2021,
arXiv 1905.02928): for any form, and for mixes drawn as those of the runs, an interval of level 95 % holds a new run in
at least 90 % of cases (1 - 2 alpha); that is the guarantee. Measured coverage is close to 95 %
(tests/benchmarks/laws.py). Neither holds for mixes unlike those that were run.
"""

from __future__ import annotations

import fnmatch
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from windtunnel.schemas import plugin
from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.trainer.laws._extrapolation import extrapolating
from windtunnel.trainer.laws._form import LawForm, Predict
from windtunnel.trainer.laws._parts import fitted
from windtunnel.trainer.stats.cautions import cautions, check_total, joined, sums_alike
from windtunnel.trainer.stats.coordinates import Coordinates
from windtunnel.trainer.stats.paired import LARGEST, read_table
from windtunnel.trainer.stats.repeats import Noise, Runs, noise_of

FEWEST_MIXES = 5
MOST_FOLDS = 512  # with more mixes, each fold leaves out several of them
LEVEL = 0.95
AUTO = "stack"  # the form that `auto` takes
AUTO_OF_SEVERAL = "bounded_gp"  # the same for the mean of several targets, where the stack would take too long
FOLDS_OF_SEVERAL = 10


@dataclass(frozen=True)
class Fit:
    """The fit of one form to all runs, the fits of the folds, and their cross-validation errors."""

    form: str
    law_form: LawForm
    whole: Predict
    folds: tuple[Predict, ...]
    left_out: np.ndarray  # prediction of each mix from the fold without it
    fold: np.ndarray  # number of the fold that leaves out each mix
    rmse: float
    rank_correlation: float  # Spearman's, between cross-validated predictions and targets
    extrapolation: float | None  # the same of mixes left out by corners and from the lowest up; None with few mixes
    seconds: float


@dataclass(frozen=True)
class Law:
    """A fitted law. The weights of a mix are in the order of `domains` and sum to one."""

    domains: tuple[str, ...]
    weights: np.ndarray  # [mixes, domains] of the runs
    target: np.ndarray  # [mixes], mean over the runs of a mix, and over the targets
    measured: np.ndarray  # [mixes, targets], mean over the runs of a mix
    fits: tuple[Fit, ...]  # the one in use first, then by their error on mixes left out one by one
    runs: Runs
    noise: Noise
    coordinates: Coordinates | None = None  # what the forms are fitted on; None: the weights themselves
    wanted: str | Sequence[str] = ()  # the columns of the weights, as asked for
    total: float = 1.0  # what the weights of a run summed to before they were divided by it

    @property
    def best(self) -> Fit:
        return self.fits[0]

    @property
    def no_interval(self) -> str | None:
        """Why predictions have no interval, in words for people; None when they have one."""
        have, need = len(self.target), fewest_for_interval()
        if have >= need:
            return None
        return f"no interval: {LEVEL:.0%} needs the runs of {need} different mixes, and there are {have}"

    @property
    def caution(self) -> str | None:
        """What makes the law less than it seems, in words for people; None when nothing does."""
        count, what = len(self.domains), "domains"
        if self.coordinates and self.coordinates.clusters < count:
            count, what = self.coordinates.clusters, "clusters"
        best = self.best
        return joined(cautions(self.target, best.left_out, self.weights, count, what, best.rank_correlation))

    @property
    def content(self) -> str | None:
        """Which coordinates the law is of, and how many of their directions the runs vary, in words for people."""
        if self.coordinates is None:
            return None
        moves = self.at(self.weights) - self.at(self.weights).mean(axis=0)
        varied, clusters = int(np.linalg.matrix_rank(moves, tol=1e-8)), self.coordinates.clusters
        told = f"the law is of the shares of {clusters} content clusters ({self.coordinates.origin})"
        if varied == clusters - 1:
            return told
        return (
            f"{told}; the runs vary them in {varied} of {clusters - 1} directions, and along the others priors alone "
            "predict and intervals do not hold"
        )

    def at(self, weights: np.ndarray, domains: Sequence[str] | None = None) -> np.ndarray:
        """Return what the forms are fitted on for weights [mixes, domains]: the weights, or content [mixes, clusters].

        `domains` are those of the runs by default; others need coordinates with their rows (RecipeError).
        """
        return weights if self.coordinates is None else self.coordinates.at(weights, domains or self.domains)

    def predict(
        self, weights: np.ndarray, level: float = LEVEL, domains: Sequence[str] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (predicted, low, high) of mixes [mixes, domains], each [mixes]; for `domains` see `at`.

        (low, high) is a prediction interval for a new run of the mix: jackknife+ of the given level, whose coverage is
        at least 2 level - 1 for mixes drawn as those of the runs, and about `level` as measured. Where mixes were run
        more than once, its width follows the noise at the mix. It is NaN if there are too few mixes (see
        `fewest_for_interval`). Raises InputError where a prediction is not finite.
        """
        fit, n, weights = self.best, len(self.target), self.at(weights, domains)
        middle = predictions(fit.form, fit.whole, weights)
        if math.ceil(level * (n + 1)) > n:
            return middle, np.full(len(middle), np.nan), np.full(len(middle), np.nan)
        of = self.runs.of
        errors = np.abs(self.runs.target - fit.left_out[of]) / self.noise.at(fit.left_out)[of]
        width = errors[:, None] * self.noise.at(middle)
        without = np.stack([predictions(fit.form, fold, weights) for fold in fit.folds])[fit.fold][of]  # [runs, mixes]
        needed = level * (n + 1)
        high = _smallest(without + width, self.runs.share, needed)
        low = -_smallest(width - without, self.runs.share, needed)
        return middle, np.minimum(low, middle), np.maximum(high, middle)


def _smallest(values: np.ndarray, share: np.ndarray, needed: float) -> np.ndarray:
    """Return, for each column of values [runs, mixes], the smallest that has runs of `needed` mixes at or below it."""
    order = np.argsort(values, axis=0, kind="stable")
    enough = np.cumsum(share[order], axis=0) >= needed - 1e-9
    return np.take_along_axis(values, np.take_along_axis(order, enough.argmax(axis=0)[None], axis=0), axis=0)[0]


def fewest_for_interval(level: float = LEVEL) -> int:
    """Return how many mixes an interval with coverage `level` needs: 19 for 95 %."""
    return next(n for n in itertools.count(1) if math.ceil(level * (n + 1)) <= n)


def predictions(form: str, predict: Predict, weights: np.ndarray) -> np.ndarray:
    """Return what a fit predicts for mixes [mixes, domains], one finite number each.

    Raises RecipeError for a form that returns something else, InputError where a prediction is not finite.
    """
    returned = predict(weights)
    try:
        values = np.asarray(returned, float)
    except (TypeError, ValueError):
        raise RecipeError(f"the law form {form!r} predicts a {type(returned).__name__}, not numbers") from None
    if values.shape != (len(weights),):
        raise RecipeError(
            f"the law form {form!r} predicts an array of shape {values.shape} for {len(weights)} mixes: what its `fit` "
            f"returns must give one number a mix, shape ({len(weights)},)"
        )
    if wrong := int((~np.isfinite(values)).sum()):
        raise InputError(
            f"the law form {form!r} predicts values that are not finite, for {wrong} of {len(weights)} mixes: correct "
            "it, or use another form (`windtunnel list law`)"
        )
    return values


def fit(
    weights: np.ndarray,
    target: np.ndarray,
    domains: Sequence[str],
    form: Any = "auto",
    coordinates: Coordinates | None = None,
) -> Law:
    """Return the law of runs with weights [runs, domains], which are normalised to sum to one, and target [runs].

    A target [runs, targets] means the mean of the targets, each of which gets a law of its own. `form` is `auto`, a
    name or {name: parameters}. With `coordinates` the law is of the mixes' content, and `domains` need a row in them
    each. Runs of the same mix, or of the same content, are averaged. Raises InputError for missing values, negative
    weights, too few mixes or predictions that are not finite, RecipeError for an unknown form or one that gives no
    number a mix. Fits every fold, which for Gaussian processes takes cubic time in the number of mixes each.
    """
    target = np.asarray(target, float)
    scaled = scale(np.asarray(weights, float), domains)
    content = coordinates.at(scaled, domains) if coordinates else scaled
    mixes, measured, runs = _mixes(content, target.reshape(len(target), -1), " by their content" * bool(coordinates))
    several = measured.shape[1] > 1
    usual = (AUTO_OF_SEVERAL,) if several else plugin.names("law")
    fits, errors = [], []
    for spec in usual if form == "auto" else (form,):
        law_form = plugin.make(LawForm, spec)
        try:
            name = spec if isinstance(spec, str) else plugin.reference(law_form)
            fits.append(_judged(name, law_form, mixes, measured))
        except InputError as error:
            if form != "auto":
                raise
            errors.append(str(error))
    if not fits:
        raise InputError(f"no form of law fits the runs: {'; '.join(errors)}")
    ordered = tuple(sorted(fits, key=lambda f: (f.form != AUTO, f.rmse)))
    noise = noise_of(runs, ordered[0].left_out)
    if coordinates:  # the forms know content alone; runs of the same content have its mean weights
        mixes = _means(scaled, runs.of)
    return Law(tuple(domains), mixes, measured.mean(axis=1), measured, ordered, runs, noise, coordinates)


def _mixes(scaled: np.ndarray, target: np.ndarray, by: str) -> tuple[np.ndarray, np.ndarray, Runs]:
    """Return the distinct mixes, their mean targets [mixes, targets] and all runs, for targets [runs, targets]."""
    missing = ~np.isfinite(target).all(axis=1)
    missing |= (np.abs(target) > LARGEST).any(axis=1)
    if missing.any():
        raise InputError(f"row {int(np.flatnonzero(missing)[0]) + 1}: the target is missing, not finite or above 1e100")
    mixes, of = np.unique(np.round(scaled, 12), axis=0, return_inverse=True)
    if len(mixes) < FEWEST_MIXES:
        raise InputError(f"a law needs at least {FEWEST_MIXES} different mixes, there are {len(mixes)}{by}")
    of = of.ravel()
    return mixes, _means(target, of), Runs(target.mean(axis=1), of)


def _means(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the means [mixes, columns] of values [runs, columns] over the runs of each mix."""
    return np.stack([np.bincount(of, each) / np.bincount(of) for each in values.T], axis=1)


def scale(weights: np.ndarray, domains: Sequence[str]) -> np.ndarray:
    """Return the weights of each mix divided by their sum. Raises InputError for an invalid row."""
    bad = ~np.isfinite(weights) | (weights < 0)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(f"row {row + 1}: the weight of {domains[column]!r} is {weights[row, column]}")
    sums = weights.sum(axis=1)
    if (sums <= 0).any():
        raise InputError(f"row {int(np.flatnonzero(sums <= 0)[0]) + 1}: all weights are zero")
    if (odd := sums_alike(sums)) is not None:
        raise InputError(
            f"row {odd + 1}: the weights sum to {sums[odd]:.4g}, those of most rows to {np.median(sums):.4g}: give all "
            "rows in one unit, and all domains of every mix"
        )
    return weights / sums[:, None]


def _judged(name: str, form: LawForm, weights: np.ndarray, measured: np.ndarray) -> Fit:
    started = time.perf_counter()
    with plugin.errors_of(form, "`fit`"):
        whole = fitted(form, weights, measured)
    predictions(name, whole, weights)
    n, target = len(measured), measured.mean(axis=1)
    most = MOST_FOLDS if measured.shape[1] == 1 else FOLDS_OF_SEVERAL
    fold = np.random.default_rng(0).permutation(n) % most if n > most else np.arange(n)
    folds, left_out = [], np.empty(n)
    for k in range(int(fold.max()) + 1):
        held_out = fold == k
        folds.append(fitted(form, weights[~held_out], measured[~held_out], whole))
        left_out[held_out] = predictions(name, folds[-1], weights[held_out])
    rmse = float(np.sqrt(np.square(left_out - target).mean()))
    beyond = _beyond(name, form, weights, measured, whole)
    seconds = time.perf_counter() - started
    return Fit(name, form, whole, tuple(folds), left_out, fold, rmse, _ranks(left_out, target), beyond, seconds)


def _beyond(name: str, form: LawForm, weights: np.ndarray, measured: np.ndarray, whole: Predict) -> float | None:
    """Return the rank correlation of mixes left out by corners and from the lowest up; None with few mixes."""
    target = measured.mean(axis=1)
    outside = extrapolating(weights, target)
    if not outside:
        return None
    found = [predictions(name, fitted(form, weights[~out], measured[~out], whole), weights[out]) for out in outside]
    return _ranks(np.concatenate(found), np.concatenate([target[out] for out in outside]))


def _ranks(predicted: np.ndarray, target: np.ndarray) -> float:
    """Return Spearman's correlation, 0 where either is constant."""
    return float(spearmanr(predicted, target).statistic) if np.ptp(predicted) and np.ptp(target) else 0.0


def law_of_file(path: Path, weights: str, target: str, form: str = "auto", coordinates: Path | None = None) -> Law:
    """Return the law of a table of runs (CSV, Parquet or JSON lines, as that of coordinates); see `law_of_table`."""
    content = Coordinates.of_file(coordinates) if coordinates else None
    return law_of_table(read_table(path, "runs"), weights, target, form, str(path), content)


def law_of_table(
    table: pl.DataFrame,
    weights: str | Sequence[str],
    target: str,
    form: Any = "auto",
    origin: str = "runs",
    coordinates: Coordinates | None = None,
) -> Law:
    """Return the law of runs, one row a run.

    `weights` names the columns of the weights: a pattern such as 'weight_*', names with commas between them, or a list.
    `target` names one column, or several in the same ways: their mean is the target, and each gets a law of its own.
    `origin` names the table in errors. With `coordinates` the law is of the mixes' content: see `fit`.
    """
    domains = columns_of(table, weights, origin)
    targets = [target] if target in table.columns else columns_of(table, target, origin, least=1)
    if both := [name for name in targets if name in domains]:
        raise RecipeError(f"{both[0]!r} is both the target and a weight")
    found = fit(numbers(table, domains, origin), numbers(table, targets, origin), domains, form, coordinates)
    return replace(found, wanted=weights, total=float(np.median(numbers(table, domains, origin).sum(axis=1))))


def with_predictions(law: Law, mixes: pl.DataFrame, origin: str = "mixes") -> pl.DataFrame:
    """Return a table of mixes with what the law predicts for each: columns predicted, low and high (null: unknown).

    Raises RecipeError for a missing column of weights, or a domain without coordinates in a law that has them.
    """
    domains = _domains_of(law, mixes)
    weights = weights_of(mixes, domains, origin)
    check_total(float(np.median(numbers(mixes, domains, origin).sum(axis=1))), law.total, origin)
    predicted = law.predict(weights, domains=domains)
    names = ("predicted", "low", "high")
    return mixes.with_columns(pl.Series(n, v, nan_to_null=True) for n, v in zip(names, predicted, strict=True))


def _domains_of(law: Law, mixes: pl.DataFrame) -> tuple[str, ...]:
    """Return the columns of a table that are weights: those of the runs, unless it has other domains with content.

    Domains are the columns that have a row in the coordinates, or that the weights of the runs were asked for by.
    """
    if law.coordinates is None:
        return law.domains
    parts, known = _parts(law.wanted), law.coordinates.domains
    found = [name for name in mixes.columns if name in known or any(fnmatch.fnmatchcase(name, p) for p in parts)]
    return law.domains if set(found) <= set(law.domains) else tuple(found)


def _parts(wanted: str | Sequence[str]) -> list[str]:
    return [part.strip() for part in wanted.split(",")] if isinstance(wanted, str) else list(wanted)


def columns_of(table: pl.DataFrame, wanted: str | Sequence[str], origin: str, least: int = 2) -> list[str]:
    """Return the columns that a pattern or a list of names means; RecipeError when one is missing."""
    chosen: list[str] = []
    for part in _parts(wanted):
        if not isinstance(part, str):
            raise RecipeError(f"{origin}: the columns of the weights are strings, and {part!r} is none")
        matching = [name for name in table.columns if name == part or fnmatch.fnmatchcase(name, part)]
        if not matching:
            raise RecipeError(f"{origin}: no column is called {part!r}: {nearest(part, table.columns)}")
        chosen.extend(name for name in matching if name not in chosen)
    if len(chosen) < least:
        raise RecipeError(f"{origin}: a mix has two domains at least, {wanted!r} means {', '.join(chosen)}")
    return chosen


def weights_of(table: pl.DataFrame, domains: Sequence[str], origin: str) -> np.ndarray:
    """Return the weights of a table of mixes, [mixes, domains], each row divided by its sum."""
    if missing := [name for name in domains if name not in table.columns]:
        raise RecipeError(f"{origin}: no column is called {missing[0]!r}: {nearest(missing[0], table.columns)}")
    return scale(numbers(table, domains, origin), domains)


def numbers(table: pl.DataFrame, columns: Sequence[str], origin: str) -> np.ndarray:
    """Return columns as float64 [rows, columns], a missing value as NaN; InputError for text."""
    for name in columns:
        if not (table[name].dtype.is_numeric() or table[name].dtype == pl.Null):
            raise InputError(f"{origin}: column {name!r} holds {table[name].dtype}, not numbers")
    return table.select(pl.col(name).cast(pl.Float64).fill_null(np.nan) for name in columns).to_numpy()


def contract(law: Law, proposal: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON output of `windtunnel law --json`."""
    return {
        "form": law.best.form,
        "loo_rank_correlation": law.best.rank_correlation,
        "loo_rmse": law.best.rmse,
        "fit_seconds": sum(fit.seconds for fit in law.fits),
        "proposal": proposal,
        "mixes": len(law.target),
        "targets": law.measured.shape[1],
        "caution": law.caution,
        "clusters": law.coordinates.clusters if law.coordinates else None,
        "content": law.content,
        "forms": {
            f.form: {
                "loo_rank_correlation": f.rank_correlation,
                "loo_rmse": f.rmse,
                "extrapolation_rank_correlation": f.extrapolation,
            }
            for f in law.fits
        },
    }
