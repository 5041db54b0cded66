"""AdamW over named parameters: decay on matrices alone, gradients divided by the normaliser, clipped, then stepped."""

from __future__ import annotations

import math

import torch

from windtunnel.trainer.objectives._objective import Objective


class Optimiser:
    """torch's fused AdamW with the bookkeeping that a checkpoint needs, by parameter name."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter], objective: Objective) -> None:
        self.parameters = parameters
        self.clip = objective.clip
        matrices = [p for p in parameters.values() if p.ndim >= 2]
        vectors = [p for p in parameters.values() if p.ndim < 2]  # norms, biases, gates: decay would only shrink them
        groups = [
            {"params": matrices, "weight_decay": objective.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(
            [g for g in groups if g["params"]],
            lr=torch.tensor(objective.lr, dtype=torch.float64).item(),
            betas=objective.betas,
            eps=objective.eps,
            fused=True,
        )

    def step(self, lr: float, normaliser: float) -> float:
        """Take a step along the summed gradients over `normaliser`; return their norm after that division.

        Leaves the weights as they are, and returns the norm, when the norm is not finite.
        """
        grads = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(grads)) / normaliser
        if not math.isfinite(norm):
            return norm
        factor = min(1.0, self.clip / (norm + 1e-6)) / normaliser
        for grad in grads:
            grad.mul_(factor)
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, torch.Tensor]:
        """Return the moments and step counts as flat tensors: `<parameter>/exp_avg` and so on."""
        found = {}
        for name, parameter in self.parameters.items():
            for key, value in self.adamw.state.get(parameter, {}).items():
                found[f"{name}/{key}"] = value
        return found

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Take up the tensors that `state` gave."""
        for name, parameter in self.parameters.items():
            prefix = f"{name}/"
            mine = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
            if mine:
                self.adamw.state[parameter] = {key: value.to(parameter.device) for key, value in mine.items()}
