"""Multiple choice by log-likelihood: scores every option as a continuation of the prompt.

The causal_lm objective calls it after training if the recipe has choices. Besides accuracy it reports continuous
metrics, which improve earlier and more smoothly for small models (DataDecide, Magnusson et al. 2025, arXiv 2504.11393).
An item with an empty prompt and two sentences as options is a minimal pair (as in BLiMP).

Input role `choices`: an artifact whose rows/*.parquet have the schema windtunnel.schemas.records.CHOICE.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.schemas.artifact import Artifact, write_parquet
from windtunnel.schemas.errors import InputError
from windtunnel.trainer.eval.likelihood import answer_scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.trainer.data.encoder import Encoder


def score_choices(
    model: PreTrainedModel, artifact: Artifact, encoder: Encoder, context: int, path: Path
) -> dict[str, float]:
    """Write one row per item to `path`; return the mean metrics.

    Columns: item, source, answer, nats and bytes of every option (lists), right (the most probable option is the
    answer), right_per_byte (the same by nats per byte, which does not favour short options), probability (of the answer
    among the options), margin (nats per byte: best wrong option minus answer).
    """
    items = _items(artifact)
    options = items.explode("options")
    prompts, texts = (list(encoder.encode(options[name].to_list())) for name in ("prompt", "options"))
    found = answer_scores(model, prompts, texts, encoder.end_of_text, context)
    nats = [float(one.nats.sum()) for one in found]
    sizes = options["options"].str.len_bytes().cast(pl.Int64)
    scored = options.select("number").with_columns(pl.Series("nats", nats), sizes.alias("bytes"))
    table = items.drop("prompt", "options").join(
        scored.group_by("number", maintain_order=True).agg("nats", "bytes"), on="number", maintain_order="left"
    )
    rows = pl.DataFrame([_scored(row) for row in table.iter_rows(named=True)])
    write_parquet(path, rows)
    means = rows.select(pl.col("right", "right_per_byte").cast(pl.Float64), "probability", "margin").mean()
    names = ("choice_accuracy", "choice_accuracy_per_byte", "choice_probability", "choice_margin")
    chance = items.select((1 / pl.col("options").list.len()).mean()).item()
    return {**dict(zip(names, means.row(0), strict=True)), "choice_chance": chance}


def _items(artifact: Artifact) -> pl.DataFrame:
    """Return the numbered items. Raises InputError for an item whose answer is not one of its options."""
    files = artifact.files("rows")
    if not files:
        raise InputError(f"{artifact.path.name}: no choices in rows/")
    items = pl.concat([pl.read_parquet(f) for f in files]).with_row_index("number")
    length = pl.col("options").list.len().cast(pl.Int64)
    broken = items.filter((length < 2) | (pl.col("answer") < 0) | (pl.col("answer") >= length))
    if not broken.is_empty():
        raise InputError(
            f"{artifact.path.name}: item {broken['id'][0]!r} needs at least two options, one of which is the answer"
        )
    empty = items.filter(pl.col("options").list.eval(pl.element().str.len_bytes() == 0).list.any())
    if not empty.is_empty():
        raise InputError(f"{artifact.path.name}: item {empty['id'][0]!r} has an empty option")
    return items


def _scored(row: dict[str, object]) -> dict[str, object]:
    nats, size, answer = np.array(row["nats"]), np.array(row["bytes"]), int(str(row["answer"]))
    rate = nats / size
    share = np.exp(-(nats - nats.min()))
    return {
        "item": row["id"],
        "source": row["source"],
        "answer": answer,
        "nats": nats.tolist(),
        "bytes": size.tolist(),
        "right": bool(nats.argmin() == answer),
        "right_per_byte": bool(rate.argmin() == answer),
        "probability": float(share[answer] / share.sum()),
        "margin": float(np.delete(rate, answer).min() - rate[answer]),
    }
