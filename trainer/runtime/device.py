"""Selection of the device for training and inference: the CPU or a GPU.

`auto` is resolved when the plan is made, and the device is part of the steps' keys, because GPU and CPU results differ
in their bits. The GPU model is not part of the keys; the runs of one comparison should use GPUs of one model.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from windtunnel.schemas.errors import InputError

Device = Literal["cpu", "cuda"]
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # device files of NVIDIA, WSL and AMD drivers
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def resolve(setting: Literal["auto", "cpu", "cuda"]) -> Device:
    """Return the device of a recipe's setting on this machine; an explicit setting is not checked."""
    if setting != "auto":
        return setting
    return "cuda" if _driver() and _available() else "cpu"


def check(device: str) -> None:
    """Prepare a device for deterministic execution. Raises InputError for a GPU that torch cannot use."""
    if not device.startswith("cuda"):
        return
    if not _available():
        import torch

        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise InputError(
            f"`device: {device}` was asked for, and torch {torch.__version__} ({built}) finds no GPU on this machine: "
            "install a torch that fits the driver, or run with --set train.device=cpu"
        )
    os.environ.setdefault(CUBLAS, ":4096:8")  # cuBLAS requires it for deterministic algorithms


def _driver() -> bool:
    """Return whether a GPU may exist; avoids importing torch, which is slow, where there is none."""
    return not sys.platform.startswith("linux") or any(Path(path).exists() for path in DRIVERS)


def _available() -> bool:
    import torch

    return torch.cuda.is_available()
