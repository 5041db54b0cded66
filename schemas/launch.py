"""How many processes train one model together."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Launch(BaseModel):
    """The processes of one run: on how many nodes, how many on each (one a GPU), and what each of them holds.

    Results equal those of one process up to rounding. A run on several nodes is started by `srun` in its own job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    nodes: int = Field(1, ge=1)
    gpus: int = Field(1, ge=1)  # processes a node, also on the CPU
    shard: Literal["ddp", "fsdp"] = "ddp"  # fsdp: weights, gradients and moments are spread over the processes
