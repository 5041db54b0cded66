"""The arithmetic of training: float32, or bfloat16 products with float32 master weights.

In bf16, a step casts the weights once, runs forward and backward pass in bfloat16, and accumulates gradients, their
norm and the optimiser's moments in float32, as FSDP's mixed precision does; norms, softmax and the loss are computed
in float32 inside their kernels.
"""

from __future__ import annotations

from typing import Literal

from windtunnel.schemas.errors import InputError

Precision = Literal["float32", "bf16"]


def resolve(setting: Literal["auto", "float32", "bf16"], device: str) -> Precision:
    """Return the precision of a recipe's setting: `auto` is bf16 on a GPU that has it, float32 elsewhere."""
    if setting != "auto":
        return setting
    return "bf16" if device == "cuda" and _has_bf16(device) else "float32"


def check(precision: Precision, device: str) -> None:
    """Raise InputError where bf16 is asked of a processor that only emulates it, at a tenth of float32's speed."""
    if precision == "bf16" and not _has_bf16(device):
        what = "GPU" if device == "cuda" else "processor"
        raise InputError(
            f"`precision: bf16` was asked for, and this {what} has no bf16 products: use `precision: float32` or `auto`"
        )


def _has_bf16(device: str) -> bool:
    import torch

    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.backends.cpu.get_cpu_capability()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() or capabilities.startswith("SVE")
