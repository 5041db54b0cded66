"""One training run in several processes: whose micro-batches are whose, and how sums over all of them are made.

The micro-batches of a step are dealt out in turn; sums of losses, normalisers and gradients are those of one process up
to the order of additions. With `ddp` every process holds all weights, and gradients are summed once a step, after the
last micro-batch; with `fsdp` weights, gradients and moments are sharded by torch's `fully_shard`.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.modules.blocks import stack

Shard = Literal["ddp", "fsdp"]

PATIENCE = datetime.timedelta(hours=6)  # of ranks that wait while the first one evaluates
BUCKET = 1 << 26  # bytes of gradients that are summed in one message


class Ranks(NamedTuple):
    """The processes of a run, seen from one of them."""

    rank: int = 0
    size: int = 1
    shard: Shard = "ddp"

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of every weight."""
        return self.size > 1 and self.shard == "fsdp"

    def mine(self, batches: Sequence[Batch]) -> list[tuple[Batch, float]]:
        """Return this rank's micro-batches with their factors; all ranks have equally many.

        Where there are fewer than would go round, a rank repeats the first with the factor 0.
        """
        if self.size == 1:
            return [(batch, 1.0) for batch in batches]
        own = [(batch, 1.0) for batch in batches[self.rank :: self.size]]
        rounds = -(-len(batches) // self.size)
        return own + [(batches[0], 0.0)] * (rounds - len(own))

    def summed(self, values: Sequence[float | torch.Tensor], device: Any) -> torch.Tensor | Sequence[Any]:
        """Return the sums of scalars over all ranks, as they are in a single process, else float64 on the device."""
        if self.size == 1:
            return values
        whole = torch.stack([torch.as_tensor(v, dtype=torch.float64, device=device) for v in values])
        dist.all_reduce(whole)
        return whole

    def any(self, flag: bool, device: Any) -> bool:
        """Return whether the first rank says so; all ranks must ask."""
        if self.size == 1:
            return flag
        said = torch.tensor(float(flag), device=device)
        dist.broadcast(said, 0)
        return bool(said)

    def sum_gradients(self, gradients: Sequence[torch.Tensor]) -> None:
        """Add every gradient of all ranks in place; sharded ones are summed by the backward pass."""
        if self.size == 1 or self.sharded:
            return
        for bucket in _buckets(gradients):
            flat = torch.cat([g.reshape(-1) for g in bucket])
            dist.all_reduce(flat)
            for g, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                g.copy_(part.view_as(g))

    def norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the norm of all gradients, given this rank's parts; a float64 scalar."""
        norm = torch.nn.utils.get_total_norm(list(gradients)).double()
        if self.sharded:
            squares = norm.square()
            dist.all_reduce(squares)
            norm = squares.sqrt()
        return norm

    def wait(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()


ALONE = Ranks()


def joined(device: str, shard: Shard) -> Ranks:
    """Join the other processes of torchrun and return the ranks. Raises InputError where there is no GPU for each."""
    here = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        if here >= torch.cuda.device_count():
            raise InputError(
                f"`launch` asks for {os.environ['LOCAL_WORLD_SIZE']} GPUs a node, this one has "
                f"{torch.cuda.device_count()}"
            )
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size(), shard)


def shard_model(model: Any, whole: torch.nn.Module, device: str, precision: str) -> None:
    """Shard the weights over all ranks, by block; `whole` is the module whose forward method is called."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device, (dist.get_world_size(),))
    low = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32)
    more: dict[str, Any] = {"mesh": mesh, **({"mp_policy": low} if precision == "bf16" else {})}
    for block in stack(model) or ():
        fully_shard(block, **more)
    root: Any = fully_shard(whole, reshard_after_forward=False, **more)
    for module in root.modules():
        if hasattr(module, "set_gradient_divide_factor"):
            module.set_gradient_divide_factor(1.0)  # sums over ranks, as over micro-batches
            module.set_force_sum_reduction_for_comms(True)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return the part of a tensor that is in this process."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor  # type: ignore[attr-defined,operator]


def full(tensor: torch.Tensor) -> torch.Tensor:
    """Return the whole of a tensor; all ranks must ask for it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # type: ignore[attr-defined,operator]


def like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Return this rank's part of a whole tensor that belongs to a parameter, on its device."""
    mesh = getattr(parameter, "device_mesh", None)
    if mesh is None or value.ndim == 0:
        return value.to(parameter.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(parameter.device), mesh, parameter.placements, src_data_rank=None)  # type: ignore[attr-defined]


def _buckets(gradients: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    buckets: list[list[torch.Tensor]] = [[]]
    size = 0
    for g in gradients:
        if size + g.nbytes > BUCKET and buckets[-1]:
            buckets.append([])
            size = 0
        buckets[-1].append(g)
        size += g.nbytes
    return buckets
