"""The update of a stage's weights: normalised and clipped gradients, and the optimizers that a recipe names.

Nothing here waits for a GPU: norms and factors stay tensors on the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from windtunnel.trainer.loop.ranks import ALONE, Ranks, like, local
from windtunnel.trainer.objectives._objective import Objective
from windtunnel.trainer.optimizers._optimizer import Trained

if TYPE_CHECKING:
    from collections.abc import Collection


class Optimiser:
    """The optimizers over named parameters, with their state accessible by name for checkpoints."""

    def __init__(
        self,
        parameters: dict[str, torch.nn.Parameter],
        objective: Objective,
        hidden: Collection[str] = (),
        ranks: Ranks = ALONE,
    ) -> None:
        """`hidden`: names of the matrices inside the model's blocks, which some optimizers treat by themselves."""
        self.parameters, self.ranks = parameters, ranks
        self.clip = objective.clip
        settings = (objective.lr, objective.betas, objective.eps, objective.weight_decay)
        self.parts = objective.update_rule().build(Trained(parameters, frozenset(hidden), *settings))

    def step(self, lr: float, normaliser: float | torch.Tensor) -> torch.Tensor:
        """Update the weights with the gradients divided by `normaliser`; return the norm of the divided gradients.

        The norm is a float64 scalar on the parameters' device. On the CPU, weights are left unchanged if it is not
        finite; on a GPU, where looking at it would wait for all kernels, the caller looks before it saves anything.
        """
        grads = [local(p.grad) for p in self.parameters.values() if p.grad is not None]
        self.ranks.sum_gradients(grads)
        norm = self.ranks.norm(grads) / normaliser
        if norm.device.type == "cpu" and not torch.isfinite(norm):
            return norm
        factor = torch.clamp(self.clip / (norm + 1e-6), max=1.0) / normaliser
        torch._foreach_mul_(grads, factor)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()
            part.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, torch.Tensor]:
        """Return moments and step counts by name, e.g. `<parameter>/exp_avg`."""
        return {
            f"{name}/{key}": value
            for name, parameter in self.parameters.items()
            for part in self.parts
            for key, value in part.state.get(parameter, {}).items()
        }

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Load the tensors that `state` returned."""
        owner = {id(p): part for part in self.parts for group in part.param_groups for p in group["params"]}
        for name, parameter in self.parameters.items():
            prefix = f"{name}/"
            values = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
            if values:
                moved = {key: like(value, parameter) for key, value in values.items()}
                owner[id(parameter)].state[parameter] = moved
