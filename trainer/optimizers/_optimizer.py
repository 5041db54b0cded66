"""The base class of optimizers: which optimizer of torch updates which parameters of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

    def groups(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return torch's groups of some parameters: only matrices are decayed, not norms, biases and gates."""
        chosen = [self.parameters[name] for name in names]
        parts = [([p for p in chosen if p.ndim >= 2], self.weight_decay), ([p for p in chosen if p.ndim < 2], 0.0)]
        return [{"params": part, "weight_decay": decay} for part, decay in parts if part]


class Optimizer(Plugin, ABC):
    """An update rule: one file in trainer/optimizers. The loop clips the gradients and sets the learning rate."""

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)  # that `windtunnel check optimizer NAME` tries

    @abstractmethod
    def build(self, trained: Trained) -> list[torch.optim.Optimizer]:
        """Return optimizers of torch that update every parameter once; their state must be tensors.

        Every group gets the schedule's learning rate before each step.
        """
