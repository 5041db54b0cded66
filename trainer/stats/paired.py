"""Validation and layout of per-document scores as a dense panel of mixes, seeds and documents.

All statistics of trainer.stats start from a panel. A row of scores is one document scored by one run: `mix, seed,
document`, optionally `source` and `group`, and the columns of the metric (`bytes, nats` for bits per byte). All runs
must score the same documents, so that differences are paired.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from windtunnel.schemas.errors import InputError, RecipeError, nearest

ALL = "all"  # the source of every document if the table has no such column
FEW_VALUES = 4  # of a score that counts, such as right or wrong
COPIED = 1e-4  # of the loss of a document; models of different seeds differ by a hundred times as much
LARGEST = 1e100  # of a score; squares of larger ones are not finite


@dataclass(frozen=True)
class Metric:
    """A ratio of sums over documents, scale * sum(value) / sum(weight), or a mean if there is no weight.

    `span` is the maximum difference of two runs on one document, if bounded (1 for an accuracy).
    """

    name: str
    value: str
    weight: str | None
    scale: float
    direction: Literal["lower", "higher"]
    unit: str
    span: float | None = None
    unsigned: bool = False  # a negative value is an error


BITS_PER_BYTE = Metric("bits_per_byte", "nats", "bytes", 1 / math.log(2), "lower", "bits per byte", unsigned=True)


def mean_of(
    column: str, direction: Literal["lower", "higher"] = "higher", unit: str = "", span: float | None = None
) -> Metric:
    """Return the metric that averages a column over documents, such as an accuracy or a win rate."""
    return Metric(column, column, None, 1.0, direction, unit or column.replace("_", " "), span)


@dataclass(frozen=True)
class Panel:
    """Scores in dense form: 8 bytes per mix, seed and document.

    `values` is (mixes, seeds, documents), already scaled; `weights` is (documents,); `source` contains each document's
    index into `sources`, `group` the number of its group (None: no groups). Mixes are in the order of the table with
    the baseline first; documents are sorted by id.
    """

    metric: Metric
    mixes: tuple[str, ...]
    seeds: tuple[str, ...]
    documents: np.ndarray
    sources: tuple[str, ...]
    source: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    group: np.ndarray | None = None

    def by_run(self) -> np.ndarray:
        """Return the metric of every run, (mixes, seeds)."""
        return self.values.sum(axis=2) / self.weights.sum()

    def groups(self) -> np.ndarray:
        """Return the group of each document, (documents,); groups are resampled as units."""
        return np.arange(len(self.documents)) if self.group is None else self.group

    def only(self, source: str) -> Panel:
        """Return the panel restricted to the documents of one source."""
        at = np.flatnonzero(self.source == self.sources.index(source))
        return replace(
            self,
            documents=self.documents[at],
            sources=(source,),
            source=np.zeros(len(at), dtype=np.int32),
            weights=self.weights[at],
            values=self.values[:, :, at],
            group=self.groups()[at],
        )


def read_scores(path: Path) -> pl.DataFrame:
    """Read a table of scores; names are read as strings."""
    names: dict[str, Any] = dict.fromkeys(("mix", "seed", "document", "source", "group"), pl.String)
    return read_table(path, "scores", names)


def read_table(path: Path, what: str, types: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Read a table of `what` from CSV, Parquet or JSON Lines. Raises InputError if it cannot be read."""
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        if path.suffix in (".jsonl", ".ndjson"):
            return pl.read_ndjson(path)
        return pl.read_csv(path, infer_schema_length=10_000, schema_overrides=types)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot be read as a table of {what} ({first})") from error


def panel(scores: pl.DataFrame, baseline: str, metric: Metric = BITS_PER_BYTE, seedless: Collection[str] = ()) -> Panel:
    """Validate a table of scores and return it as a panel; `seedless` mixes are references that no seed reaches.

    Raises InputError for missing columns, missing, infinite or negative values, duplicate rows, unpaired runs, runs
    that scored other documents and copies of a run under another seed; RecipeError if no mix is called `baseline`.
    """
    table = _columns(scores, metric)
    names = table["mix"].unique(maintain_order=True).to_list()
    if baseline not in names:
        raise RecipeError(f"no mix is called {baseline!r} in the scores: {nearest(baseline, names)}")
    mixes = (baseline, *(name for name in names if name != baseline))
    seeds = tuple(sorted(table["seed"].unique().to_list(), key=_seed_order))
    table = table.with_columns(
        mix_code=pl.col("mix").replace_strict({name: i for i, name in enumerate(mixes)}, return_dtype=pl.Int64),
        seed_code=pl.col("seed").replace_strict({name: i for i, name in enumerate(seeds)}, return_dtype=pl.Int64),
        document_code=pl.col("document").rank("dense").cast(pl.Int64) - 1,
        source_code=pl.col("source").rank("dense").cast(pl.Int32) - 1,
        group_code=pl.col("group").rank("dense").cast(pl.Int64) - 1,
    )
    documents = table["document"].unique().sort().to_numpy()
    shape = (len(mixes), len(seeds), len(documents))
    codes = table.select("mix_code", "seed_code", "document_code").to_numpy().T
    place = np.asarray(np.ravel_multi_index(tuple(codes), shape))
    _complete(place, shape, mixes, seeds, documents)
    values = np.empty(math.prod(shape))
    values[place] = table["value"].to_numpy() * metric.scale
    _no_copies(values.reshape(shape), mixes, seeds, metric.unsigned, seedless)
    return Panel(
        metric=metric,
        mixes=mixes,
        seeds=seeds,
        documents=documents,
        sources=tuple(table["source"].unique().sort().to_list()),
        source=_agreed(table["source_code"].to_numpy(), place, shape, documents, "source"),
        weights=_agreed(table["weight"].to_numpy(), place, shape, documents, metric.weight or "weight"),
        values=values.reshape(shape),
        group=_agreed(table["group_code"].to_numpy(), place, shape, documents, "group"),
    )


def _columns(scores: pl.DataFrame, metric: Metric) -> pl.DataFrame:
    """Return the columns mix, seed, document, source, group, value and weight, cast and validated."""
    needed = ["mix", "seed", "document", metric.value, *([metric.weight] if metric.weight else [])]
    missing = [name for name in needed if name not in scores.columns]
    if missing:
        available = ", ".join(scores.columns) or "none"
        raise InputError(f"the scores lack the column {', '.join(map(repr, missing))}; available columns: {available}")
    if scores.height == 0:
        raise InputError("the scores have no rows")
    for name in (*needed, "source", "group"):
        if name in scores.columns and (
            scores.schema[name].is_nested() or scores.schema[name] in (pl.Object, pl.Binary)
        ):
            raise InputError(
                f"the column {name!r} of the scores holds {scores.schema[name]}: names or numbers are needed"
            )
    source = pl.col("source").cast(pl.String) if "source" in scores.columns else pl.lit(ALL)
    weight = pl.col(metric.weight).cast(pl.Float64, strict=False) if metric.weight else pl.lit(1.0)
    table = scores.select(
        pl.col("mix").cast(pl.String),
        pl.col("seed").cast(pl.String),
        pl.col("document").cast(pl.String),
        source.alias("source"),
        pl.col("group" if "group" in scores.columns else "document").cast(pl.String).alias("group"),
        pl.col(metric.value).cast(pl.Float64, strict=False).alias("value"),
        weight.alias("weight"),
    )
    for name in ("mix", "seed", "document", "source", "group"):
        if table[name].null_count():
            raise InputError(f"row {_first(table[name].is_null())}: the column {name!r} is empty")
    for name, column in (("value", metric.value), ("weight", metric.weight)):
        bad = ~(table[name].is_finite() & (table[name].abs() < LARGEST)).fill_null(False)
        if name == "weight":
            bad = bad | (table[name] <= 0)
        if name == "value" and metric.unsigned:
            bad = bad | (table[name] < 0).fill_null(False)
        if bad.any():
            row = table.row(_first(bad) - 1, named=True)
            what, hint = "empty, not a number, infinite or above 1e100", ""
            if name == "weight":
                what = "not a number above zero"
            elif metric.unsigned and (row["value"] or 0.0) < 0 and math.isfinite(row["value"]):
                share = float((table["value"] < 0).mean())  # pyright: ignore[reportArgumentType]
                what = f"negative ({row['value']:.4g}): a negative log-likelihood of text is zero or more"
                hint = f". Did you pass log-probabilities? {share:.0%} of the rows are negative; nats are minus those"
            where = f"{_run(row['mix'], row['seed'])}, document {row['document']!r}"
            raise InputError(f"{column!r} is {what} for {where}{hint}")
    return table


def _complete(
    place: np.ndarray, shape: tuple[int, int, int], mixes: tuple[str, ...], seeds: tuple[str, ...], ids: np.ndarray
) -> None:
    """Raise InputError unless every mix, seed and document has exactly one score."""
    seen = np.bincount(place, minlength=math.prod(shape)).reshape(shape)
    if (seen > 1).any():
        mix, seed, document = np.argwhere(seen > 1)[0]
        count = int((seen > 1).sum())
        raise InputError(
            f"{count} score(s) are duplicated, the first for {_run(mixes[mix], seeds[seed])}, "
            f"document {str(ids[document])!r}: keep one row per mix, seed and document"
        )
    scored = seen.sum(axis=2)
    if (scored == 0).any():
        missing = [_run(mixes[mix], seeds[seed]) for mix, seed in np.argwhere(scored == 0)]
        raise InputError(
            f"no scores for {_few(missing)}: effects are paired, so every mix needs the same seeds; "
            "run the missing ones, or remove the seed from the table"
        )
    if (seen == 0).any():
        mix, seed, document = np.argwhere(seen == 0)[0]
        raise InputError(
            f"{_run(mixes[mix], seeds[seed])} scored {scored[mix, seed]} of {shape[2]} documents, for example not "
            f"{str(ids[document])!r}: all runs must score the same documents"
        )


def _no_copies(
    values: np.ndarray, mixes: tuple[str, ...], seeds: tuple[str, ...], unsigned: bool, seedless: Collection[str]
) -> None:
    """Raise InputError if a mix has the same scores under two seeds: one run counted twice shows a spread too small.

    Losses count as the same if at least half of the documents differ by less than COPIED of their loss, as where one
    model is scored twice. Shares of right answers may agree by chance: scores of few different values are let pass.
    """
    for mix, runs in zip(mixes, values, strict=True):
        few = not unsigned and len(np.unique(runs)) <= FEW_VALUES
        for k in range(1, 1 if few or mix in seedless else len(seeds)):
            apart = np.abs(runs[:k] - runs[k])
            alike = (apart <= COPIED * np.abs(runs[k])) if unsigned else apart == 0
            share = alike.mean(axis=1)
            other = int(np.argmax(share))
            if share[other] >= (0.5 if unsigned else 1.0):
                raise InputError(
                    f"mix {mix!r} has the same scores under seeds {seeds[other]} and {seeds[k]}, on "
                    f"{share[other]:.0%} of the documents: one run was copied or scored twice, or the seed did not "
                    "reach it; keep each run once. Or training broke both models alike, which log.parquet shows"
                )


def _agreed(
    column: np.ndarray, place: np.ndarray, shape: tuple[int, int, int], ids: np.ndarray, name: str
) -> np.ndarray:
    """Return the value of each document, which must be equal in all runs. Raises InputError otherwise."""
    full = np.empty(math.prod(shape), dtype=column.dtype)
    full[place] = column
    runs = full.reshape(-1, shape[2])
    odd = np.flatnonzero((runs != runs[0]).any(axis=0))
    if len(odd):
        raise InputError(
            f"{name!r} of document {str(ids[odd[0]])!r} differs between runs ({len(odd)} such document(s)): "
            "all runs must score the same documents"
        )
    return runs[0].copy()


def _seed_order(seed: str) -> tuple[int, int, str]:
    return (0, int(seed), "") if re.fullmatch(r"-?[0-9]{1,4000}", seed) else (1, 0, seed)


def _first(mask: pl.Series) -> int:
    """Return the number of the first true row, starting from one."""
    return int(mask.arg_true()[0]) + 1


def _run(mix: str, seed: str) -> str:
    return f"mix {mix!r} seed {seed}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
