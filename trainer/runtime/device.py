"""Where a model is trained and asked: on the CPU or on a GPU that torch can use.

What a recipe calls `auto` is decided when the plan is made, and the steps' keys hold the outcome, since a GPU gives
other bits than a CPU. They do not hold which GPU: runs of one comparison belong on GPUs of one kind.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from windtunnel.schemas.errors import InputError

Device = Literal["cpu", "cuda"]
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # what Linux shows of a GPU: NVIDIA's, under Windows, AMD's
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def resolve(wanted: Literal["auto", "cpu", "cuda"]) -> Device:
    """Return the device that a recipe's word means on this machine; `cuda` is not looked for before it is needed."""
    if wanted != "auto":
        return wanted
    return "cuda" if _driver() and _available() else "cpu"


def check(device: str) -> None:
    """Make a device ready for deterministic work; raises InputError when it is a GPU and torch can use none."""
    if not device.startswith("cuda"):
        return
    if not _available():
        import torch

        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise InputError(
            f"`device: {device}` was asked for, and torch {torch.__version__} ({built}) finds no GPU on this machine: "
            "install a torch that fits the driver, or run with --set train.device=cpu"
        )
    os.environ.setdefault(CUBLAS, ":4096:8")  # without it cuBLAS refuses deterministic work


def _driver() -> bool:
    """Return whether there may be a GPU at all: importing torch to hear of none would slow every command down."""
    return not sys.platform.startswith("linux") or any(Path(path).exists() for path in DRIVERS)


def _available() -> bool:
    import torch

    return torch.cuda.is_available()
