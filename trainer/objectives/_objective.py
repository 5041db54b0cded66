"""What one training stage minimises: the base of trainer/objectives, and the three shapes that pass through the loop.

A stage is an objective with its own optimiser settings. The loop (trainer/train.py) knows nothing of what is trained:

    model = objective.adopt(model)                      # e.g. swap the language-model head for a reward head
    data = objective.open(setting, model)               # batches as a pure function of the step
    model = delta.apply(model)                          # or nothing: the full model trains
    for step in range(data.steps):
        for batch in data.batch(step):                  # micro-batches of one optimiser step
            loss = objective.loss(model, batch)         # sums, so that micro-batches and ranks add up exactly
            loss.total.backward()
        divide gradients by the sum of the normalisers, clip, step
    objective.evaluate(model, setting, out)             # per-row scores on the held-out set

Modules of this folder import torch inside functions, so that recipes are checked and planned without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.plugin import Plugin, make
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.deltas._delta import Delta

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True)
class Setting:
    """Where a stage stands: what it may read, and what its randomness is keyed by."""

    inputs: Mapping[str, Artifact]  # role -> finished artifact, e.g. "mix", "tokens:web", "held_out", "conversations"
    tokenizer: PreTrainedTokenizerFast
    context: int  # positions the model has
    seed: int  # keys the order of the data; never a global generator
    cache: Path  # a directory of the stage's own for what is costly to compute again (reference log-probabilities)


class Loss(NamedTuple):
    """Sums over a micro-batch. The step's loss is the sum of `total` over the sum of `normaliser`."""

    total: torch.Tensor  # scalar, in nats, NOT divided by anything; backward() is called on it
    normaliser: float  # how many units were summed: target tokens, pairs, ...
    metrics: dict[str, float]  # sums over the same units; the log holds them divided by the normaliser


class Data(ABC):
    """A stage's batches as a pure function of the step: resume asks for batch k without replaying k - 1 of them."""

    steps: int  # optimiser steps of the whole stage
    window: float | None = None  # positions attention spans in the mean, where rows are shorter than the context

    @abstractmethod
    def batch(self, step: int) -> list[Batch]:
        """Return the micro-batches of an optimiser step (0 <= step < steps)."""

    def realised(self) -> list[dict[str, Any]]:
        """Return what the whole stage trains on, one row per domain and source.

        Rows hold domain, source, tokens, bytes, documents, epochs; computed from the plan, not from the batches seen.
        """
        return []


@dataclass(frozen=True)
class Evaluation:
    """What a stage scored on its held-out rows; the rows themselves lie in Parquet files under `out`."""

    totals: dict[str, dict[str, float]]  # domain -> sums (nats, bytes, documents, or the objective's own)
    metrics: dict[str, float] = field(default_factory=dict)  # headline numbers, e.g. bits_per_byte, accuracy


class Objective(Plugin, ABC):
    """A loss with its data, its optimiser settings and its evaluation: one file in trainer/objectives."""

    kind: ClassVar[Literal["tokens", "conversations", "preferences"]] = "tokens"  # what it learns from
    scores: ClassVar[bool] = True  # False: its model says nothing of how likely the held-out rows are
    dropout: ClassVar[bool] = True  # False: a loaded model's dropout is off while it trains on this
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)  # parameters that `windtunnel check objective NAME` tries

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return what it learns from, and whether its model gives held-out rows a probability."""
        return {"learns_from": cls.kind, "scores": cls.scores}

    lr: float = Field(1e-3, gt=0)  # peak learning rate; the schedule scales it
    batch_tokens: int = Field(4096, gt=0)  # tokens of one optimiser step
    micro_tokens: int | None = Field(None, gt=0)  # tokens of one forward pass; None: the whole batch at once
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.1, ge=0)  # on matrices only
    clip: float = Field(1.0, gt=0)  # bound on the gradient's norm, after division by the normaliser
    delta: Any = None  # a delta in the recipe's words, e.g. {lora: {rank: 8}}; None trains the full model

    def nested(self) -> list[Plugin]:
        """Return the delta, if there is one."""
        return [make(Delta, self.delta)] if self.delta is not None else []

    def adopt(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model in the class that this objective trains; new weights draw from torch's global generator.

        The loop has seeded that generator from the run's seed, so that paired runs share the new weights too.
        """
        return model

    @abstractmethod
    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        """Return the stage's data.

        `model` is the stage's starting model in evaluation mode, before any delta: a reference, if one is needed.
        Called on every start, resumed ones included, with the same starting weights.
        """

    @abstractmethod
    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the loss sums of a micro-batch."""

    def evaluate(self, model: PreTrainedModel, setting: Setting, out: Path) -> Evaluation:
        """Score the held-out rows, write per-row scores into `out` (Parquet), return the sums.

        `model` is in evaluation mode with its delta still on.
        """
        return Evaluation(totals={})
