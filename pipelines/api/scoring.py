"""Scores in Python: how likely a model finds texts, document by document."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import polars as pl

from windtunnel.pipelines.api.arguments import refuse
from windtunnel.pipelines.api.frames import Texts, columns_of, documents, polars_of, text_table
from windtunnel.pipelines.api.own_errors import own_errors
from windtunnel.pipelines.api.session import torch_lock
from windtunnel.pipelines.api.trained_model import TrainedModel
from windtunnel.pipelines.scorers.causal_lm import open_scorer
from windtunnel.schemas.errors import InputError
from windtunnel.trainer.runtime.device import resolve


@own_errors
def evaluate(
    model: TrainedModel | str | Path,
    texts: Texts,
    text: str = "text",
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> pl.DataFrame:
    """Score texts with a model: a row for each text, with its negative log-likelihood in nats and its UTF-8 bytes.

    Parameters
    ----------
    model
        A trained model, or the directory of a causal language model with safetensors and a fast tokenizer.
    texts
        A frame or a list of texts. A row's `id` names it, and so does its hash where there is none. A column `group`
        (texts of one origin) goes into the scores.

    Columns: mix and seed (of a trained model), document, source, group (where there is one), bytes, tokens, nats,
    bits_per_byte = nats / ln 2 / bytes. Scores of several models, one below the other, are what `compare` takes.
    Raises InputError for a model or for texts that cannot be read.
    """
    if not isinstance(model, TrainedModel | str | Path):
        refuse("model", model, "give a trained model, or the directory of one")
    table = text_table(texts, text)
    frame = pl.DataFrame(documents(table, text).select(["id", "text", "source"]))
    if empty := (frame["text"] == "").sum():
        raise InputError(f"{empty:,} of {frame.height:,} texts are empty: leave them out, they have no byte to score")
    with torch_lock:
        directory = model.path if isinstance(model, TrainedModel) else Path(model)
        nats, tokens = open_scorer(directory, resolve(device)).scores(frame["text"].to_list(), None, None)
    size = pl.col("text").str.len_bytes().cast(pl.Int64)
    columns: list[Any] = [pl.col("id").alias("document"), "source"]
    if isinstance(model, TrainedModel):
        columns = [pl.lit(model.name).alias("mix"), pl.lit(model.seed, pl.Int64).alias("seed"), *columns]
    if "group" in columns_of(table):
        columns.append(polars_of(table)["group"])
    scores = frame.select(*columns, size.alias("bytes"), tokens=tokens, nats=nats)
    return scores.with_columns(bits_per_byte=pl.col("nats") / math.log(2) / pl.col("bytes"))
