"""The step that compares all mixes with the baseline on one frozen evaluation set, from the scores of all runs.

It is the last step of a plan before the report; trainer.stats.effects does the statistics.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, write_parquet, write_text
from windtunnel.schemas.encoded_rows import encoded_of, missed_share, refused_words
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.results import Comparison, Domain, Effect, EncodedSet, MeasuredOn
from windtunnel.schemas.role import by_name, name_in_directory, runs
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.stats.asked import asked
from windtunnel.trainer.stats.effects import Options, effects_by_source, panel_effects
from windtunnel.trainer.stats.interim_analyses import Spending
from windtunnel.trainer.stats.measures import incomparable
from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Metric, Panel, mean_of, panel
from windtunnel.trainer.stats.pinned import only, parts_of

HELD_OUT = "held_out"
SCORES = "scores.parquet"
HELD_OUT_SCORES = {
    "preferences.parquet": f"{HELD_OUT}_preferences"
}  # what is compared beside `held_out`: the role of its rows


class Compare(Work):
    """Reads `scores.parquet` of every run and writes comparison.json, effects.parquet and loss_matrix.parquet.

    `metric` is `bits_per_byte` or a column to average over documents, with `direction` saying which values are better.
    Runs whose held-out scores measure something else than the baseline's (trainer.stats.measures) get no effect.
    `looks` declares interim analyses as numbers of seeds, empty for a single analysis; `after` names the numbers of
    seeds at which the result was looked at without a declaration.
    """

    version: ClassVar[int] = 6
    baseline: str
    metric: str = BITS_PER_BYTE.name
    direction: str = Field(default="lower", pattern="^(lower|higher)$")
    span: float | None = Field(default=None, gt=0)  # maximum difference of two runs on one document
    interval: float = Field(default=0.95, gt=0.5, lt=1)
    margin: float | None = Field(default=None, ge=0)
    looks: tuple[int, ...] = ()
    spending: Spending = "power"
    after: tuple[int, ...] = ()
    scores: str = SCORES
    pinned: dict[str, str] = Field(default_factory=dict)  # mix -> the mix of the baseline's documents at its sources
    on: str = ""  # description of the evaluation set; derived from the held-out artifact if empty
    shares: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)  # mix -> role -> set of rows -> share
    shares_by: str = "bytes"
    tolerance: float = Field(default=0.05, ge=0)  # of a share, beyond which there is no verdict
    tasks: dict[str, str] = Field(default_factory=dict)  # title -> the score that it is compared by
    score: str = ""  # of the tasks that are compared
    seedless: tuple[str, ...] = ()  # references that are the same under every seed
    called: str = "mix"  # what is compared (schemas.role.word_for)
    by_question: bool = False  # compare on the questions that all models were asked, and tell the chance by source

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        """Compare; the counts are those of the scored documents."""
        apart = incomparable(inputs, self.baseline) if self.scores == SCORES else {}
        table = _scores(inputs, self.scores, apart)
        by_question = self.by_question or bool(self.tasks)
        table, questions = asked(table, inputs, self.tasks, self.score) if by_question else (table, {})
        whole = panel(table, self.baseline, self._metric(), self.seedless)
        between = set(self.pinned.values())
        scores = only(whole, [mix for mix in whole.mixes if mix not in between])
        options: Options = {
            "margin": self.margin,
            "level": self.interval,
            "looks": self.looks,
            "spending": self.spending,
            "after": self.after,
        }
        effects = self._effects(scores, options)
        comparison = self._comparison(scores, effects, self.on or describe(inputs.get(HELD_OUT)))
        if encoded := {mix: parts for mix, parts in _encoded(inputs).items() if parts}:
            held_out = f"{HELD_OUT}_conversations" if HELD_OUT in inputs else HELD_OUT_SCORES.get(self.scores, "")
            comparison = self._with_rows(comparison, encoded, held_out)
        comparison = comparison.model_copy(update={"incomparable": apart, **questions, **self._chance(table)})
        comparison = comparison.model_copy(update={"judged_by": _judged_by(table)})
        if self.pinned:
            comparison = comparison.model_copy(update={"parts": parts_of(whole, self.pinned, **options)})
        rows = pl.DataFrame([effect.model_dump() for effect in comparison.effects], schema=_types())
        write_parquet(out / "effects.parquet", rows)
        write_parquet(out / "loss_matrix.parquet", effects_by_source(scores, **options))
        write_text(out / "comparison.json", comparison.model_dump_json(indent=1) + "\n")
        documents = len(scores.documents)
        notes = {"runs": len(whole.mixes) * len(scores.seeds), "rows": table.height}
        return Counts(seen=documents, kept=documents, bytes=comparison.on.bytes, notes={**notes})

    def _effects(self, scores: Panel, options: Options) -> list[Effect]:
        """Return the effects of the trainings, and those of references, which have a size and no verdict."""
        trained = [mix for mix in scores.mixes if mix not in self.seedless]
        references = [self.baseline, *(mix for mix in scores.mixes if mix in self.seedless)]
        open_: dict[str, Any] = dict.fromkeys(
            ("p", "p_holm", "p_margin", "seeds_needed", "seeds_needed_low", "seeds_needed_high", "documents_needed",
             "smallest_visible")
        )  # fmt: skip
        open_ |= {"verdict": "undecided", "outcome": "undecided", "note": "", "reference": True}
        open_ |= {"withheld": "it is a reference, which no training made"}
        return [
            *panel_effects(only(scores, trained), **options),
            *(e.model_copy(update=open_) for e in panel_effects(only(scores, references), **options)),
        ]

    def _with_rows(self, comparison: Comparison, encoded: dict[str, list[EncodedSet]], held_out: str) -> Comparison:
        """Return the comparison with what became of the rows, and no verdict on mixes that are not the recipe's.

        `held_out` is the role of the rows that are compared, empty where these are others.
        """
        missed = {
            mix: missed_share(encoded.get(mix, []), shares, self.shares_by, self.tolerance)
            for mix, shares in self.shares.items()
        }
        effects = []
        for effect in comparison.effects:
            whys = [f"in {mix}, {missed[mix]}" for mix in (effect.mix, self.baseline) if missed.get(mix)]
            open_ = {"verdict": "undecided", "outcome": "undecided", "withheld": "; ".join(whys), "seeds_needed": None}
            effects.append(effect.model_copy(update=open_) if whys and not effect.reference else effect)
        lost = refused_words([part for part in next(iter(encoded.values())) if part.role == held_out])
        on = comparison.on
        if lost:
            on = on.model_copy(update={"description": f"{on.description}; not measured: {lost}"})
        return comparison.model_copy(update={"encoded": encoded, "effects": effects, "on": on})

    def _chance(self, table: pl.DataFrame) -> dict[str, Any]:
        """Return the expected score of a guess by source, as a field of Comparison."""
        if not self.by_question:
            return {}
        means = table.group_by("source").agg(pl.col("chance").mean()).sort("source")
        return {"chance": dict(means.iter_rows())}

    def _metric(self) -> Metric:
        if self.metric == BITS_PER_BYTE.name:
            return BITS_PER_BYTE
        direction = "higher" if self.direction == "higher" else "lower"
        return mean_of(self.metric, direction, self.score.replace("_", " "), self.span)

    def _comparison(self, scores: Panel, effects: list[Effect], on: str) -> Comparison:
        by_run = scores.by_run()
        replicated = len(scores.seeds) > 1
        best_first = sorted(effects, key=lambda e: (e.effect if e.direction == "lower" else -e.effect, e.mix))
        return Comparison(
            baseline=self.baseline,
            called=self.called,
            metric=scores.metric.name,
            unit=scores.metric.unit,
            direction=scores.metric.direction,
            interval=self.interval,
            margin=self.margin or None,
            looks=list(self.looks),
            spending=self.spending if self.looks else "",
            after=list(self.after),
            on=measured_on(scores, on),
            seeds=list(scores.seeds),
            values={mix: float(by_run[k].mean()) for k, mix in enumerate(scores.mixes)},
            seed_sd={mix: float(by_run[k].std(ddof=1)) if replicated else None for k, mix in enumerate(scores.mixes)},
            effects=best_first,
        )


def measured_on(scores: Panel, description: str) -> MeasuredOn:
    """Return the size of the evaluation set, by source."""
    domains = [
        Domain(name=name, documents=int(where.sum()), bytes=int(scores.weights[where].sum()))
        for name, where in ((name, scores.source == k) for k, name in enumerate(scores.sources))
    ]
    size = int(scores.weights.sum())
    return MeasuredOn(description=description, documents=len(scores.documents), bytes=size, domains=domains)


def describe(held_out: Artifact | None) -> str:
    """Return a description of a held-out set, from its manifest."""
    if held_out is None:
        return "the documents that the runs scored"
    manifest = held_out.manifest
    config: dict[str, Any] = manifest.config
    sets = sorted(by_name(manifest.inputs, "rows"))
    parent = name_in_directory(manifest.inputs.get("corpus", ""))
    if sets in (["held_out"], ["pairs"]) and "read" in manifest.inputs.get(f"rows:{sets[0]}", ""):
        what = "your own files"
        how = "rows that ask the same, or nearly so, are kept out of training"
    elif sets:
        what = f"the rows of {' and '.join(sets)}"
        how = "held out with all that shares their origin: no model trains on a question it is measured on"
    else:
        what = "your own files" if parent == HELD_OUT else f"the documents of {parent or 'a corpus'}"
        how = "held out before mixing; near-duplicates of them are kept out of every mix"
    share = config.get("share") or 1.0
    if share < 1:
        what = f"{100 * share:.3g}% of {what}"
    if config.get("where"):
        what += f" where {config['where']}"
    if config.get("documents"):
        what += f", at most {config['documents']:,}"
    return f"{what}, {how}"


def _encoded(inputs: Mapping[str, Artifact]) -> dict[str, list[EncodedSet]]:
    """Return what became of the rows of each mix, in its first run: those of other seeds are the same."""
    found = {mix: encoded_of(run.path) for mix, run in by_name(inputs, "encoded").items()}
    for (mix, _), run in runs(inputs).items():
        if mix not in found:
            found[mix] = encoded_of(run.path)
    return found


def _scores(inputs: Mapping[str, Artifact], file: str, apart: Collection[str] = ()) -> pl.DataFrame:
    """Return the scores of the runs of all mixes but `apart`, with columns for mix and seed, in the roles' order."""
    tables = []
    for (mix, seed), run in runs(inputs).items():
        if mix in apart:
            continue
        path = run.path / file
        if not path.exists():
            raise InputError(
                f"the run of mix {mix!r}, seed {seed} has no {file}: it was not evaluated; delete {run.path}"
            )
        tables.append(pl.read_parquet(path).with_columns(mix=pl.lit(mix), seed=pl.lit(seed)))
    if not tables:
        raise InputError("there are no runs to compare")
    return pl.concat(tables, how="vertical_relaxed")


def _judged_by(table: pl.DataFrame) -> dict[str, str]:
    """Return the measure by which the runs of a mix judge pairs, where scores tell one."""
    if "measure" not in table.columns:
        return {}
    found = table.group_by("mix").agg(pl.col("measure").drop_nulls().unique().sort()).sort("mix")
    return {mix: ", ".join(measures) for mix, measures in found.iter_rows() if measures}


def _types() -> dict[str, Any]:
    """Return the schema of effects.parquet, which columns without any value need."""
    types: dict[str, Any] = dict.fromkeys(
        ("mix", "baseline", "metric", "direction", "verdict", "outcome", "note", "withheld"), pl.String
    )
    whole = ("seeds", "documents", "sources", "seeds_needed", "seeds_needed_low", "seeds_needed_high")
    types |= dict.fromkeys((*whole, "documents_needed"), pl.Int64)
    types |= {"equal": pl.Boolean, "reference": pl.Boolean, "looks": pl.List(pl.Int64), "after": pl.List(pl.Int64)}
    return {name: types.get(name, pl.Float64) for name in Effect.model_fields}
