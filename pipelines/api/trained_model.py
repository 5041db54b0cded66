"""A trained model: where its files lie and what training it took."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.results import RunResult
from windtunnel.trainer.models._model import load

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class TrainedModel:
    """A trained model: its files, and what training it took.

    path: the model's directory, with weights (safetensors), configuration and tokenizer, as transformers reads it.
    result: tokens, steps, FLOPs, seconds and the final loss.
    """

    path: Path
    result: RunResult

    @property
    def name(self) -> str:
        """The name of the mix that it is trained on."""
        return self.result.mix

    @property
    def seed(self) -> int:
        """The seed of its initial weights and of the order of its data."""
        return self.result.seed

    @property
    def cost(self) -> dict[str, float]:
        """What training took: tokens, steps, flops, seconds, cpu_seconds."""
        return {name: getattr(self.result, name) for name in ("tokens", "steps", "flops", "seconds", "cpu_seconds")}

    @cached_property
    def log(self) -> pl.DataFrame:
        """The training log: a row for each step with step, tokens, loss (nats per token), lr and grad_norm."""
        return pl.read_parquet(self.path.parent / "log.parquet")

    def load(self) -> PreTrainedModel:
        """Return the model in transformers' class, in float32 on the CPU."""
        return load(self.path)

    def save(self, directory: str | Path) -> Path:
        """Copy the model's directory to a new one and return that; raises InputError when it exists."""
        target = Path(directory)
        if target.exists():
            raise InputError(f"{target} exists: name a new directory")
        shutil.copytree(self.path, target)
        return target
