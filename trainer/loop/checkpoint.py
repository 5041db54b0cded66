"""Checkpoints in one file, replaced by an atomic rename: safetensors, with JSON in its header. Nothing is unpickled.

What is in it resumes a run to the same bits: the trained weights, the optimiser's moments, the log so far. Data and
randomness need no state, both are functions of the step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from windtunnel.schemas.artifact import canonical_json, writing
from windtunnel.schemas.errors import InputError

NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a stage after `step` optimiser steps."""

    step: int
    config: str  # digest: a checkpoint of another configuration is refused
    weights: Mapping[str, torch.Tensor]
    optimiser: Mapping[str, torch.Tensor]
    log: Mapping[str, np.ndarray]  # column -> float64 [step]
    seconds: float  # spent so far
    cpu_seconds: float


def save(checkpoint: Checkpoint, out: Path) -> None:
    """Write a checkpoint into `out`, in place of the one before."""
    from safetensors.torch import save_file

    tensors = {f"weights/{name}": value for name, value in checkpoint.weights.items()}
    tensors |= {f"optimiser/{name}": value for name, value in checkpoint.optimiser.items()}
    tensors |= {f"log/{name}": torch.from_numpy(np.ascontiguousarray(v)) for name, v in checkpoint.log.items()}
    head = {
        "step": checkpoint.step,
        "config": checkpoint.config,
        "seconds": checkpoint.seconds,
        "cpu_seconds": checkpoint.cpu_seconds,
    }
    with writing(out / NAME) as partial:
        save_file(
            {k: v.detach().contiguous().cpu() for k, v in tensors.items()}, partial, {"run": canonical_json(head)}
        )


def load(out: Path, config: str) -> Checkpoint | None:
    """Return the checkpoint in `out`, or None; raises InputError when it belongs to another configuration."""
    from safetensors import safe_open

    path = out / NAME
    if not path.exists():
        return None
    parts: dict[str, dict[str, torch.Tensor]] = {"weights": {}, "optimiser": {}, "log": {}}
    with safe_open(path, "pt") as file:
        head = json.loads(file.metadata()["run"])
        names = file.keys()  # a list: the handle itself cannot be iterated
        for name in names:
            part, _, key = name.partition("/")
            parts[part][key] = file.get_tensor(name)
    if head["config"] != config:
        raise InputError(f"{path} belongs to another configuration or other inputs; remove {out} to train anew")
    return Checkpoint(
        step=head["step"],
        config=config,
        weights=parts["weights"],
        optimiser=parts["optimiser"],
        log={name: value.numpy() for name, value in parts["log"].items()},
        seconds=head["seconds"],
        cpu_seconds=head["cpu_seconds"],
    )


def remove(out: Path) -> None:
    """Remove the checkpoint of a finished stage."""
    (out / NAME).unlink(missing_ok=True)
