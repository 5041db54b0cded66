"""Tasks in Python: the scores of a model on questions, item by item."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from windtunnel.pipelines.api.arguments import refuse
from windtunnel.pipelines.api.corpora import read
from windtunnel.pipelines.api.frames import Texts, documents
from windtunnel.pipelines.api.own_errors import own_errors
from windtunnel.pipelines.api.session import torch_lock
from windtunnel.pipelines.api.trained_model import TrainedModel
from windtunnel.pipelines.recipe.recipe import Spec
from windtunnel.pipelines.scorers.causal_lm import files_of
from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.schemas.plugin import make, names
from windtunnel.trainer.eval.task_scores import dropped_of, lines_of, table_of
from windtunnel.trainer.runtime.device import resolve
from windtunnel.trainer.stats.item_scores import COLUMNS, NATS_PER_TOKEN
from windtunnel.trainer.tasks._evaluation import Evaluation, Text
from windtunnel.trainer.tasks._own_files import own_task

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class TaskResult:
    """What a model answered.

    items: a row a question, with task, document, prompt, answer, reply, correct, bytes and nats of the right answer.
    scores: a row a question and metric, with task, document, group, metric, value, weight, chance (mix and seed of a
        trained model), of which `compare_items` takes those of several models.
    not_asked: the number of questions that the model could not be asked, by TASK:REASON or TASK/PART:REASON.
    """

    items: pl.DataFrame
    scores: pl.DataFrame
    not_asked: dict[str, int] = field(default_factory=dict)


@own_errors
def evaluate_tasks(
    model: TrainedModel | str | Path,
    tasks: Sequence[Spec | Path] | str | Path,
    texts: Texts | str | Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> TaskResult:
    """Score a model on tasks, as `windtunnel evaluate` does.

    Parameters
    ----------
    model
        A trained model, or the directory of a causal language model with safetensors and a fast tokenizer. It is asked
        by its chat template where it has one, and as a plain language model otherwise.
    tasks
        Files of questions: JSON Lines with `question, choices, answer`, `question, answer` or `prompt, constraints`, or
        a YAML file of lm-eval; tasks as in recipes, such as `{"exact": {"file": "quiz.jsonl", "max_tokens": 32}}`; or
        names of tasks that are made up or made from texts, such as `"agreement"` or `"copying"`; a name with a file,
        such as `"perplexity:texts/"`.
    texts
        The texts that such tasks are made from: a frame, a list, or a source as `read` takes it.

    Raises InputError for files that cannot be read whole, RecipeError for an unknown task.
    """
    from windtunnel.trainer.eval.replies import open_asker
    from windtunnel.trainer.runtime.numerics import numerics

    if not isinstance(model, TrainedModel | str | Path):
        refuse("model", model, "give a trained model, or the directory of one")
    given = [tasks] if isinstance(tasks, str | Path) else list(tasks)
    made = [task_of(spec) for spec in given]
    _check(made, texts)
    directory, on = (model.path if isinstance(model, TrainedModel) else Path(model)), resolve(device)
    files_of(directory)
    sources = _texts(texts) if any(task.needs_documents for task in made) else []
    lines, dropped = [], {}
    with torch_lock, numerics(1, 0, on):
        asker = open_asker(directory, BATCH_TOKENS, on)
        for task in made:
            found = task.measure(lambda: sources, asker)
            lines += lines_of(task.title, found.rows)
            dropped |= dropped_of(task.title, found.dropped)
    items = pl.DataFrame(table_of(lines))
    scores = scores_of(items)
    if isinstance(model, TrainedModel):
        scores = scores.select(pl.lit(model.name).alias("mix"), pl.lit(str(model.seed)).alias("seed"), pl.all())
    return TaskResult(items, scores, dropped)


def task_of(spec: Spec | Path) -> Evaluation:
    """Return the task of a file, a name or a recipe's spec. Raises RecipeError for what is none of them."""
    if isinstance(spec, Mapping):
        return make(Evaluation, dict(spec))  # type: ignore[type-abstract]
    if Path(spec).is_file():
        return own_task(spec)
    kind, _, file = str(spec).partition(":")
    if file and kind in names("task"):
        return make(Evaluation, {kind: file})  # type: ignore[type-abstract]
    if isinstance(spec, str) and (spec in names("task") or spec.startswith("./")):
        return make(Evaluation, spec)  # type: ignore[type-abstract]
    raise RecipeError(f"{str(spec)!r} is neither a file nor a task: {nearest(str(spec), names('task'))}")


def scores_of(items: pl.DataFrame) -> pl.DataFrame:
    """Return items (trainer.eval.task_scores.ITEMS) as trainer.stats.item_scores has them, a row an item and metric.

    A task without metrics of its own has `accuracy`; where right answers have nats, there is `answer_bits_per_byte`;
    where they have tokens, `nats_per_token`.
    """
    keys = ["task", "document", "group"]
    own = items.select(*keys, "metrics").explode("metrics").drop_nulls("metrics").unnest("metrics")
    parts = [own.rename({"name": "metric"}).with_columns(weight=pl.lit(None, pl.Float64))]
    plain = items.filter(pl.col("metrics").list.len() == 0)
    mean = {"metric": pl.lit("accuracy"), "value": pl.col("correct"), "weight": pl.lit(None, pl.Float64)}
    parts.append(plain.select(*keys, "chance", **mean))
    for metric, scale, weight in (("answer_bits_per_byte", math.log(2), "bytes"), (NATS_PER_TOKEN, 1.0, "tokens")):
        likely = items.filter(pl.col("nats").is_not_null() & pl.col(weight).is_not_null())
        ratio = {"value": pl.col("nats") / scale, "weight": pl.col(weight).cast(pl.Float64)}
        parts.append(likely.select(*keys, metric=pl.lit(metric), chance=pl.lit(None, pl.Float64), **ratio))
    order = items.select("task").unique(maintain_order=True).with_row_index("place")
    table = pl.concat([part.select(list(COLUMNS)) for part in parts])
    return table.join(order, on="task").sort("place", maintain_order=True).drop("place")


def _check(tasks: Sequence[Evaluation], texts: Any) -> None:
    if not tasks:
        raise RecipeError("there are no tasks: name files of questions, or tasks")
    titles = [task.title for task in tasks]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise RecipeError(f"two tasks are called {twice!r}: write one as {{KIND: {{file: FILE, name: NAME}}}}")
    if texts is None and (needy := next((task.title for task in tasks if task.needs_documents), None)):
        raise RecipeError(f"task {needy!r} is made from texts: give some (--texts FILE)")


def _texts(texts: Any) -> list[Text]:
    table = documents(read(texts) if isinstance(texts, str | Path) else texts, "text")
    found = [Text(row["id"], row["text"]) for row in table.select(["id", "text"]).to_pylist()]
    if not found:
        raise InputError("there are no texts to make tasks from")
    return found
