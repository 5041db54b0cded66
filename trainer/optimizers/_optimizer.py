"""The base class of optimizers: which optimizer of torch updates which parameters of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from windtunnel.schemas.plugin import Plugin

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Trained:
    """The parameters of a stage by name, with the settings of its objective."""

    parameters: Mapping[str, torch.nn.Parameter]
    hidden: frozenset[str]  # names of the matrices inside the model's blocks: neither embeddings nor the head
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    rates: Mapping[str, float] = field(default_factory=dict)  # factors of the learning rate by name, 1 where it is not

    def groups(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return torch's groups of some parameters, by their factor of the learning rate, `rate`.

        Only matrices are decayed, not norms, biases and gates, and by the same share a step whatever their rate.
        """
        found: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
        for name in names:
            parameter = self.parameters[name]
            found.setdefault((self.rates.get(name, 1.0), parameter.ndim >= 2), []).append(parameter)
        return [
            {"params": part, "rate": rate, "weight_decay": self.weight_decay / rate if matrices else 0.0}
            for (rate, matrices), part in sorted(found.items(), key=lambda item: (not item[0][1], item[0][0]))
        ]


class Optimizer(Plugin, ABC):
    """An update rule: one file in trainer/optimizers. The loop clips the gradients and sets the learning rate."""

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)  # that `windtunnel check optimizer NAME` tries

    @abstractmethod
    def build(self, trained: Trained) -> list[torch.optim.Optimizer]:
        """Return optimizers of torch that update every parameter once; their state must be tensors.

        Every group gets the schedule's learning rate before each step, times the group's `rate` if it has one.
        """
