"""The update of a stage's weights: normalised and clipped gradients, and the optimizers that a recipe names.

Nothing here waits for a GPU: norms and factors stay tensors on the device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from windtunnel.trainer.loop.ranks import ALONE, Ranks, like, local
from windtunnel.trainer.loop.spikes import is_spike
from windtunnel.trainer.objectives._objective import Objective
from windtunnel.trainer.optimizers._average import RunningAverage
from windtunnel.trainer.optimizers._optimizer import Trained

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

AVERAGE = "average"  # name of an averaged weight in the state


class Optimiser:
    """The optimizers over named parameters, with their state accessible by name for checkpoints."""

    def __init__(
        self,
        parameters: dict[str, torch.nn.Parameter],
        objective: Objective,
        hidden: Collection[str] = (),
        rates: Mapping[str, float] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """`hidden`: names of the matrices inside the model's blocks, which some optimizers treat by themselves.

        `rates`: factors of the learning rate by name, for those whose is not 1.
        """
        self.parameters, self.ranks = parameters, ranks
        self.clip = objective.clip
        self.average = RunningAverage(objective.average) if objective.average is not None else None
        settings = (objective.lr, objective.betas, objective.eps, objective.weight_decay)
        self.parts = objective.update_rule().build(Trained(parameters, frozenset(hidden), *settings, rates or {}))

    def step(self, lr: float, normaliser: float | torch.Tensor, limit: float | None = None) -> torch.Tensor:
        """Update the weights with the gradients divided by `normaliser`; return the norm of the divided gradients.

        The norm is a float64 scalar on the parameters' device. Gradients of a norm above `limit`, or of one that is not
        finite, change nothing; without a limit, on a GPU, where looking at the norm would wait for all kernels, they
        do, and the caller looks before it saves anything.
        """
        grads = [local(p.grad) for p in self.parameters.values() if p.grad is not None]
        self.ranks.sum_gradients(grads)
        norm = self.ranks.norm(grads) / normaliser
        looked_at = norm.device.type == "cpu" or limit is not None
        if looked_at and is_spike(float(norm), math.inf if limit is None else limit):
            for part in self.parts:
                part.zero_grad(set_to_none=True)
            return norm
        factor = torch.clamp(self.clip / (norm + 1e-6), max=1.0) / normaliser
        torch._foreach_mul_(grads, factor)  # pyright: ignore[reportPrivateImportUsage]
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr * group.get("rate", 1.0)
            part.step()
            part.zero_grad(set_to_none=True)
        return norm

    def follow(self, step: int, steps: int) -> None:
        """Take the weights after a step into their average, if there is one."""
        if self.average is not None:
            self.average.follow(step, steps, self.parameters)

    def take_average(self) -> None:
        """Replace the weights by their average, if there is one."""
        if self.average is not None:
            self.average.put_into(self.parameters)

    def state(self) -> dict[str, torch.Tensor]:
        """Return moments, step counts and averages by name, e.g. `<parameter>/exp_avg`."""
        averages = self.average.values if self.average is not None else {}
        return {f"{name}/{AVERAGE}": value for name, value in averages.items()} | {
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
            if (average := values.pop(AVERAGE, None)) is not None and self.average is not None:
                self.average.values[name] = like(average, parameter)
            if values:
                moved = {key: like(value, parameter) for key, value in values.items()}
                owner[id(parameter)].state[parameter] = moved
