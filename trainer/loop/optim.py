"""AdamW over named parameters, with weight decay on matrices only, gradient normalisation and clipping."""

from __future__ import annotations

import math

import torch

from windtunnel.trainer.objectives._objective import Objective


class Optimiser:
    """torch's fused AdamW, with its state accessible by parameter name for checkpoints."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter], objective: Objective) -> None:
        self.parameters = parameters
        self.clip = objective.clip
        matrices = [p for p in parameters.values() if p.ndim >= 2]
        vectors = [p for p in parameters.values() if p.ndim < 2]  # norms, biases and gates are not decayed
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
        """Update the weights with the gradients divided by `normaliser`; return the norm of the divided gradients.

        If the norm is not finite, the weights are left unchanged.
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
        """Return moments and step counts by name, e.g. `<parameter>/exp_avg`."""
        return {
            f"{name}/{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self.adamw.state.get(parameter, {}).items()
        }

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Load the tensors that `state` returned."""
        for name, parameter in self.parameters.items():
            prefix = f"{name}/"
            values = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
            if values:
                self.adamw.state[parameter] = {key: value.to(parameter.device) for key, value in values.items()}
