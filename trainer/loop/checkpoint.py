"""Checkpoints as one safetensors file with JSON metadata, replaced atomically; no pickle is involved.

A checkpoint contains the trained weights, the optimiser's moments and the log; a resumed run gives the same bits. Data
order and randomness need no state, because both are functions of the step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from windtunnel.schemas.artifact import canonical_json, writing
from windtunnel.schemas.artifact import remove as remove_file
from windtunnel.schemas.errors import InputError

NAME = "checkpoint.safetensors"
KEPT = "checkpoints"  # directory of models that stay, step-<n>/ each
HEAD = ("step", "config", "seconds", "cpu_seconds")  # fields of the JSON metadata


@dataclass(frozen=True)
class Checkpoint:
    """The state of a stage after `step` optimiser steps."""

    step: int
    config: str  # digest; a checkpoint of another configuration is rejected
    weights: Mapping[str, torch.Tensor]
    optimiser: Mapping[str, torch.Tensor]
    log: Mapping[str, np.ndarray]  # column -> float64 [step]
    seconds: float  # spent so far
    cpu_seconds: float


def save(checkpoint: Checkpoint, out: Path) -> None:
    """Write a checkpoint into `out`, replacing the previous one."""
    from safetensors.torch import save_file

    tensors = {f"weights/{name}": value for name, value in checkpoint.weights.items()}
    tensors |= {f"optimiser/{name}": value for name, value in checkpoint.optimiser.items()}
    tensors |= {f"log/{name}": torch.from_numpy(np.ascontiguousarray(v)) for name, v in checkpoint.log.items()}
    head = {name: getattr(checkpoint, name) for name in HEAD}
    with writing(out / NAME) as partial:
        save_file(
            {k: v.detach().contiguous().cpu() for k, v in tensors.items()}, partial, {"run": canonical_json(head)}
        )


def load(out: Path, config: str) -> Checkpoint | None:
    """Return the checkpoint in `out`, or None. Raises InputError if it belongs to another configuration."""
    from safetensors import safe_open

    path = out / NAME
    if not path.exists():
        return None
    parts: dict[str, dict[str, torch.Tensor]] = {"weights": {}, "optimiser": {}, "log": {}}
    with safe_open(path, "pt") as file:
        head = json.loads(file.metadata()["run"])
        names = file.keys()  # the handle itself is not iterable
        for name in names:
            part, _, key = name.partition("/")
            parts[part][key] = file.get_tensor(name)
    if head["config"] != config:
        raise InputError(f"{path} belongs to another configuration or other inputs; delete {out} to retrain")
    log = {name: value.numpy() for name, value in parts["log"].items()}
    return Checkpoint(weights=parts["weights"], optimiser=parts["optimiser"], log=log, **{k: head[k] for k in HEAD})


def head(out: Path) -> dict[str, Any]:
    """Return the step, digest and seconds of the checkpoint in `out`."""
    from safetensors import safe_open

    with safe_open(out / NAME, "pt") as file:
        return json.loads(file.metadata()["run"])


def remove(out: Path) -> None:
    """Remove the checkpoint of a finished stage."""
    remove_file(out / NAME)


def kept_steps(out: Path) -> list[int]:
    """Return after which steps a run's directory holds checkpoints, in order."""
    found = (re.fullmatch(r"step-(\d+)", folder.name) for folder in (out / KEPT).glob("step-*"))
    return sorted(int(match[1]) for match in found if match)
