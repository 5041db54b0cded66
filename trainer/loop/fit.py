"""A stage whose objective fits its model at once, without steps."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from windtunnel.schemas.artifact import Artifact, write_parquet, writing_directory
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label
from windtunnel.schemas.results import RunResult
from windtunnel.trainer.loop.log import Log
from windtunnel.trainer.loop.stage import Stage
from windtunnel.trainer.modules.export import open_tokenizer, save_tokenizer
from windtunnel.trainer.objectives._fitted_objective import FittedObjective
from windtunnel.trainer.objectives._objective import Setting


def fit(stage: Stage, objective: FittedObjective, inputs: Mapping[str, Artifact], out: Path, digest: str) -> RunResult:
    """Fit the model of a stage, write its files as the loop does, and return its result."""
    if stage.model is None or "tokenizer" not in inputs:
        raise InputError(f"{label(objective)!r} fits a new model: it starts from none, and the recipe names its sizes")
    objective.check_model(stage.model.kind, label(stage.model))
    tokenizer = open_tokenizer(inputs["tokenizer"].path / "tokenizer")
    setting = Setting(inputs, tokenizer, stage.model.context, stage.seed, out / "cache")
    started, cpu_started = time.perf_counter(), sum(os.times()[:4])
    with writing_directory(out / "model") as partial:
        done = objective.fit(stage.model, setting, partial)
        save_tokenizer(tokenizer, partial)
    seconds = time.perf_counter() - started
    log = Log()
    log.add({"step": 0, "tokens": done.tokens, "loss": done.loss, "lr": objective.lr})
    log.settle()
    log.write(out)
    write_parquet(out / "realised.parquet", pl.DataFrame(done.realised))
    return RunResult(
        mix=stage.mix,
        seed=stage.seed,
        config=digest,
        objective=label(objective),
        parameters=done.parameters,
        tokens=done.tokens,
        steps=1,
        bytes_trained=sum(row.get("bytes", 0) for row in done.realised),
        flops=done.flops,
        seconds=round(seconds, 3),
        cpu_seconds=round(sum(os.times()[:4]) - cpu_started, 3),
        tokens_per_second=round(done.tokens / max(seconds, 1e-9), 1),
        final_loss=done.loss,
        loss_unit=objective.unit,
        documents_per_batch=float(done.documents),
    )
