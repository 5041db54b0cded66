"""Statistics in Python: effects of data with intervals and verdicts, and mixing laws."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windtunnel.pipelines.api.arguments import refuse
from windtunnel.pipelines.api.frames import AnyFrame, Frame, as_given, polars_of, table_of, with_columns
from windtunnel.pipelines.api.own_errors import own_errors
from windtunnel.pipelines.api.pandas_frames import is_pandas, with_new
from windtunnel.pipelines.recipe.recipe import Compare, Spec
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.results import Effect
from windtunnel.trainer.readers._tools import read_scores as read_item_scores
from windtunnel.trainer.stats.coordinates import Coordinates
from windtunnel.trainer.stats.effects import effects
from windtunnel.trainer.stats.item_scores import item_effects, selected, typed
from windtunnel.trainer.stats.law import Law, contract, law_of_table, with_predictions
from windtunnel.trainer.stats.paired import read_scores, read_table
from windtunnel.trainer.stats.proposal import Supply, propose


@own_errors
def compare(
    scores: AnyFrame | str | Path,
    baseline: str,
    margin: float | None = None,
    interval: float = 0.95,
    looks: Sequence[int] = (),
    spending: str = "power",
    after: Sequence[int] = (),
) -> list[Effect]:
    """Return the effect of each mix against the baseline in bits per byte, as `windtunnel effects` does.

    Parameters
    ----------
    scores
        A row for each mix, seed and document, with columns mix, seed, document, bytes, nats and, optionally, source and
        group (documents of one origin); or a file of them (CSV, Parquet or JSON lines). Scores of `evaluate` are such.
        Every mix needs the same seeds, every run the same documents.
    baseline
        The mix that the others are compared with.
    margin
        Bits per byte below which a difference does not matter.
    interval
        The coverage of the intervals, over all looks together.
    looks
        The numbers of seeds at which the result is looked at, declared in advance, where it is more than once.
    spending
        How the looks share the error: `power`, `obrien_fleming` or `pocock`.
    after
        The numbers of seeds at which the result was looked at before without such a declaration: the advice of an
        undecided effect with 3 seeds is to run more and to judge them `after=[3]`, at a fifth of the error.

    An effect has the fields mix, effect (mix minus baseline), low, high, interval (their level), verdict (`better`,
    `worse`, `equivalent` or `undecided`), outcome (the verdict, or `direction`: it is known which is better, not
    whether by more than the margin), seeds, seeds_needed, documents_needed, smallest_visible and more. Raises
    InputError for scores that cannot be paired, RecipeError for an unknown baseline.
    """
    for name, value in (("looks", looks), ("after", after)):
        if isinstance(value, str) or not isinstance(value, Sequence):
            refuse(name, value, "give a list of growing numbers of seeds, such as [3, 5, 8]")
    words = {"baseline": baseline, "margin": margin or 0.0, "interval": interval, "spending": spending}
    # checked as a recipe's `compare:`
    asked = Compare.model_validate({**words, "looks": list(looks), "after": list(after)})
    table = read_scores(Path(scores)) if isinstance(scores, str | Path) else polars_of(scores)
    return effects(
        table,
        baseline,
        margin=asked.margin,
        level=asked.interval,
        looks=asked.looks,
        spending=asked.spending,
        after=asked.after,
    )


@own_errors
def compare_items(
    scores: AnyFrame | Sequence[str | Path],
    baseline: str,
    tool: str | None = None,
    runs: str = "{mix}-seed{seed}",
    metrics: Sequence[str] = (),
    **options: Any,
) -> list[Effect]:
    """Return the effect of each mix on each metric of each task, as `windtunnel effects --from` does.

    Parameters
    ----------
    scores
        A row for each mix, seed, task, document and metric, with its value and optionally its weight and group, as the
        `scores` of `evaluate_tasks` are; or, with `tool`, the directories and files that a tool has written.
    tool
        `lm_eval` (logs of --log_samples), `olmes` (prediction files) or `items` (a row an item, a column a metric).
    runs
        How the paths name runs, a pattern with {mix} and {seed}; or the file of a table with columns dir, mix, seed.
    metrics
        Names or patterns of the metrics to compare; all by default.
    options
        margin (in units of the metrics), interval, looks, spending and after, as `compare` has them.

    The `metric` of an effect is named TASK/METRIC, and p values are corrected over all effects. Raises InputError for
    scores that cannot be paired, RecipeError for an unknown baseline, tool or metric.
    """
    asked = Compare.model_validate({"baseline": baseline, "margin": 0.0, **options})
    if tool is None:
        table = selected(typed(polars_of(scores)), metrics)  # type: ignore[arg-type]
    else:
        table = read_item_scores(tool, [Path(path) for path in scores], runs, metrics)  # type: ignore[union-attr]
    return item_effects(
        table,
        baseline,
        margin=asked.margin or None,
        level=asked.interval,
        looks=asked.looks,
        spending=asked.spending,
        after=asked.after,
    )


@dataclass(frozen=True, repr=False)
class MixingLaw:
    """What a mix that was not trained would score, learnt from the runs of other mixes; see `law`."""

    fitted: Law

    @property
    def form(self) -> str:
        """The form in use; `auto` takes the stack."""
        return self.fitted.best.form

    @own_errors
    def predict(self, mixes: Frame) -> Frame:
        """Return a frame of mixes with the columns predicted, low and high (95 % intervals of a new run).

        Jackknife+ guarantees that they hold 90 % of new runs of mixes like those that were run; 95 % is measured.
        low and high are null, and a warning says so, where the law was fitted to fewer than 19 different mixes. The
        columns of the weights are those of the runs; with coordinates also others that have a row in them, whose
        intervals do not hold where their content is unlike that of any mix of the runs' domains. Raises RecipeError
        where one is missing, InputError where a prediction is not finite.
        """
        table = table_of(mixes)
        predicted = with_predictions(self.fitted, polars_of(table)).select("predicted", "low", "high")
        _warn(self.fitted)
        if is_pandas(mixes):
            return with_new(mixes, predicted)
        return as_given(with_columns(table, predicted), mixes)

    @own_errors
    def propose(
        self, tokens: Mapping[str, float] | None = None, budget: float | None = None, max_epochs: float = 4.0
    ) -> dict[str, Any]:
        """Return the mix to run next: that with the lowest upper bound, among mixes like those that were run.

        `tokens` (there are of each domain), `budget` (tokens to train on) and `max_epochs` limit its weights; with
        coordinates `tokens` may be of other domains, and the mix is of them. Keys:
        status (always "unconfirmed"), weights, predicted, low, high (corrected for the choice among many mixes; None
        with fewer than 19 mixes, with a warning), uncorrected, best_run and, with a budget, epochs. Raises RecipeError
        when no mix is possible.
        """
        if (tokens is None) != (budget is None):
            raise RecipeError("propose: a cap on epochs needs both `tokens` and `budget`")
        supply = None if tokens is None or budget is None else Supply(tokens, budget, max_epochs)
        proposal = propose(self.fitted, supply)
        _warn(self.fitted)
        return proposal

    def summary(self) -> dict[str, Any]:
        """Return what `windtunnel law --json` prints: the form, its errors on left-out mixes, those of other forms."""
        return contract(self.fitted)

    def __repr__(self) -> str:
        best = self.fitted.best
        content = self.fitted.coordinates
        by = f" by their content in {content.clusters} clusters" if content else ""
        return (
            f"MixingLaw: {self.form} in {', '.join(self.fitted.domains)}{by}, from {len(self.fitted.target)} mixes; "
            f"left-out error {best.rmse:.4g}, rank correlation {best.rank_correlation:.3f}"
        )


def _warn(law: Law) -> None:
    """Warn the caller of the public method when its predictions have no interval."""
    if law.no_interval:
        warnings.warn(law.no_interval, stacklevel=4)


@own_errors
def law(
    runs: AnyFrame | str | Path,
    weights: str | Sequence[str],
    target: str = "loss",
    form: Spec = "auto",
    coordinates: AnyFrame | str | Path | None = None,
) -> MixingLaw:
    """Fit a law that predicts the score of a mix from its weights, as `windtunnel law` does.

    Parameters
    ----------
    runs
        A row for each run, with a column for the weight of each domain and one for the score; or a file of them.
    weights
        The columns of the weights: a pattern such as `"weight_*"`, or a list.
    target
        The column to predict; lower is better. Several, as a pattern or with commas, mean their mean, and each gets a
        law of its own, which takes fewer runs than a law of the mean.
    form
        `auto`, or one of `windtunnel list law` by its name or as {name: parameters}.
    coordinates
        A row for each domain, with its name (that of the column of its weight) in the column `domain` and the share of
        its text in each content cluster; or a file of them. The law is then of the mixes' content, so that it holds
        when the same text is divided into other domains, and predicts mixes of those that have a row.

    5 different mixes are the fewest for a law, 19 for predictions with an interval. Raises RecipeError for a column or
    a form that does not exist, or a form that does not give a number for each mix; InputError for values that are
    missing, predictions that are not finite, and for fewer than 5 mixes.
    """
    file = isinstance(runs, str | Path)
    table = read_table(Path(runs), "runs") if isinstance(runs, str | Path) else polars_of(runs)
    content = None
    if isinstance(coordinates, str | Path):
        content = Coordinates.of_file(Path(coordinates))
    elif coordinates is not None:
        content = Coordinates.of_table(polars_of(coordinates))
    return MixingLaw(law_of_table(table, weights, target, form, str(runs) if file else "runs", content))
