"""Where and in which arithmetic a stage is computed: device, threads, precision, compilation, determinism.

All of it is part of the key of a run, because results depend on it bit by bit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from windtunnel.trainer.runtime.precision import Precision

COMPILED_FLOPS = 1e16  # of a stage, from which `compile: auto` compiles: a minute of a GPU at 170 TFLOP/s
COMPILED_WIDTH = 128  # narrower models are bound by launches, which compilation of single blocks does not save


@dataclass(frozen=True)
class Compute:
    """The settings of one process; equal settings on equal hardware give equal bits if `deterministic`."""

    threads: int = 1
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "float32"
    compile: bool | Literal["auto"] = "auto"  # the blocks, by torch.compile; auto: long stages on a GPU
    deterministic: bool = True  # False, on a GPU: kernels that add in any order, which are faster
    activation_checkpointing: bool = False  # recompute each block in the backward pass: less memory, a third more time

    def identity(self) -> dict[str, Any]:
        """Return the content of the key."""
        return asdict(self)

    def compiles(self, flops: float) -> bool:
        """Return whether a stage of so many FLOPs is compiled."""
        if self.compile == "auto":
            return self.device == "cuda" and flops >= COMPILED_FLOPS
        return self.compile


ON_THE_CPU = Compute()
