"""The base class of training objectives, and the types they exchange with the training loop.

A stage is an objective with its optimiser settings. The loop (trainer/loop) is independent of the objective:

    model = objective.adopt(model)                      # e.g. replace the language-model head by a reward head
    data = objective.open(setting, model)               # batches as a pure function of the step
    model = delta.apply(model)                          # without a delta, the full model is trained
    for step in range(data.steps):
        for batch in data.batch(step):                  # micro-batches of one optimiser step, with the sums of all
            loss = objective.loss(model, batch)         # sums, which add up exactly over micro-batches
            loss.total.backward()
        divide the gradients by the sum of the normalisers, clip, step
    objective.evaluate(model, setting, out)             # per-row scores on the held-out set
    export(objective.release(model))                    # without what only training needs

Modules of this directory import torch inside functions, so that recipes can be checked and planned without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import Plugin, built_in, find, label, make
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.models._model import Model, ModelKind
from windtunnel.trainer.optimizers._average import Average
from windtunnel.trainer.optimizers._optimizer import Optimizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


# what `evaluate` sums: nats of a document's tokens given those before them, which compare by bits per byte; given those
# around them; or nats of what was cut out of the document given the rest
Measure = Literal["likelihood", "pseudo_likelihood", "target"]


# column of the log: tokens that went forward through a model without a backward pass, such as those of sampling
FORWARD_TOKENS = "forward_tokens"


@dataclass(frozen=True)
class Setting:
    """The inputs, tokenizer, context and seed of a stage."""

    inputs: Mapping[str, Artifact]  # role ("mix", "tokens:web", "held_out", ...) -> finished artifact
    tokenizer: PreTrainedTokenizerFast
    context: int  # positions of the model
    seed: int  # seed of the data order
    cache: Path  # directory for results that are costly to recompute, e.g. reference log-probabilities
    models: Mapping[str, Path] = field(default_factory=dict)  # further models by name, such as that of a reward stage


class Loss(NamedTuple):
    """Sums over a micro-batch. The loss of a step is the sum of `total` divided by the sum of `normaliser`."""

    total: torch.Tensor  # scalar in nats, not normalised; backward() is called on it
    normaliser: float  # number of units summed: target tokens, pairs, ...
    # sums over the same units, numbers or scalars on the device; the log contains them divided by the normaliser
    metrics: Mapping[str, float | torch.Tensor]


class Data(ABC):
    """The batches of a stage as a pure function of the step, so that resuming needs no replay."""

    steps: int  # optimiser steps of the whole stage
    window: float | None = None  # mean attention span in positions, if rows are shorter than the context
    prefetched: bool = True  # False: a batch depends on the weights of its step, and cannot be made ahead of it
    further: Any = None  # a model that the loss reads beside the one that trains, such as a teacher
    read_further: float = 0.0  # by how many times the model's size a token goes through it
    shared: bool = True  # False: the micro-batches of a step cannot be dealt out to several processes

    @abstractmethod
    def batch(self, step: int) -> list[Batch]:
        """Return the micro-batches of an optimiser step (0 <= step < steps)."""

    def documents(self, step: int) -> Sequence[str]:
        """Return the ids of the documents or rows of a step."""
        return [key for batch in self.batch(step) for key in batch.documents]

    def follow(self, model: Any, call: Callable[..., Any]) -> None:  # noqa: B027
        """Take note of the model as it trains, and of what calls functions of it in the stage's precision."""

    def resume(self, log: Mapping[str, Sequence[float]]) -> None:  # noqa: B027
        """Go on after the steps of a log."""

    def resumable(self, step: int) -> bool:
        """Return whether a stage can go on from a checkpoint before a step."""
        return True

    def facts(self, step: int) -> dict[str, float]:
        """Return further columns of the log for a step whose batch was the last one."""
        return {}

    def realised(self) -> list[dict[str, Any]]:
        """Return the data of the whole stage, one row per domain and source.

        Rows have domain, source, tokens, bytes, documents and epochs; they are computed from the plan of the batches.
        """
        return []


@dataclass(frozen=True)
class Evaluation:
    """Scores on the held-out rows; per-row scores are in Parquet files under `out`."""

    totals: dict[str, dict[str, float]]  # domain -> sums (nats, bytes, documents, or the objective's own)
    metrics: dict[str, float] = field(default_factory=dict)  # mean metrics, e.g. bits_per_byte, accuracy


class Objective(Plugin, ABC):
    """A loss with its data, optimiser settings and evaluation: one file in trainer/objectives."""

    kind: ClassVar[Literal["tokens", "conversations", "preferences"]] = "tokens"  # what it learns from
    trains: ClassVar[tuple[ModelKind, ...]] = ("causal",)  # the kinds of model that it trains
    measure: ClassVar[Measure | None] = "likelihood"  # of what `evaluate` gives; only equal measures compare
    scores: ClassVar[bool] = True  # False: its model says nothing of how likely the held-out rows are
    gives_labels: ClassVar[bool] = False  # `evaluate` says what it makes of the labels of labelled rows
    unit: ClassVar[str] = "nats per token"  # of its loss, divided by the normaliser
    aside: ClassVar[bool] = False  # True: a stage behind it starts from the model before it, and may read this one's
    passes: ClassVar[int] = 1  # forward and backward of a token, in those of the model
    dropout: ClassVar[bool] = True  # False: a loaded model's dropout is off while it trains on this
    batch_by: ClassVar[str] = "batch_tokens"  # the parameter that makes a step read more
    sums_of_step: ClassVar[bool] = False  # True: `loss` reads the step's `step_sums` in the batch's tensors
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)  # parameters that `windtunnel check objective NAME` tries

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return what it learns from, which models it trains, and what its scores of held-out rows measure."""
        measure = cls.measure if cls.scores else None
        return {"learns_from": cls.kind, "trains": list(cls.trains), "scores": cls.scores, "measure": measure}

    @classmethod
    def check_model(cls, kind: ModelKind, name: str) -> None:
        """Raise RecipeError for a model of a kind that this objective does not train."""
        if kind in cls.trains:
            return
        known = [(name, find(Objective, name)) for name in built_in("objective")]
        objectives = [name for name, it in known if kind in it.trains and it.kind == cls.kind]
        models = [m for m in built_in("model") if (it := find(Model, m)).kind in cls.trains and not it.from_files]
        raise RecipeError(
            f"{label(cls)!r} trains {' or '.join(cls.trains)} models, and {name!r} is {kind}: take the model "
            f"{' or '.join(models)}" + (f", or the objective {' or '.join(objectives)}" if objectives else "")
        )

    lr: float = Field(1e-3, gt=0)  # peak learning rate; the schedule scales it
    batch_tokens: int = Field(4096, gt=0)  # tokens per optimiser step
    micro_tokens: int | None = Field(None, gt=0)  # tokens per forward pass; None: the whole batch
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.1, ge=0)  # applied to matrices only
    clip: float = Field(1.0, gt=0)  # maximum gradient norm, after normalisation
    optimizer: Any = "adamw"  # spec of an optimizer, e.g. muon
    average: Average | None = None  # of the weights, evaluated and exported: {ema: 0.999} or {last: 0.2}
    # leave out a step whose gradient has so many times the norm that is usual, or none; None: such a run stops
    skip_spikes: float | None = Field(None, gt=1)
    delta: Any = None  # spec of a delta, e.g. {lora: {rank: 8}}; None trains the full model

    @property
    def one_micro_batch(self) -> bool:
        """Whether every step is known to be one forward pass in one process; `micro_tokens` of rows cut by length."""
        of_text = self.kind == "tokens"
        return self.micro_tokens is None or (of_text and self.micro_tokens >= self.batch_tokens)

    def nested(self) -> list[Plugin]:
        """Return the optimizer and the delta, if there is one."""
        return [self.update_rule(), *self.deltas()]

    def deltas(self) -> list[Delta]:
        """Return the delta in a list, which is empty where the full model is trained."""
        return [make(Delta, self.delta)] if self.delta is not None else []

    def update_rule(self) -> Optimizer:
        """Return the optimizer."""
        return make(Optimizer, self.optimizer)

    def models(self) -> tuple[str, ...]:
        """Return the names of the recipe's models that it reads beside the one that it trains."""
        return ()

    def reads_stages(self) -> tuple[str, ...]:
        """Return the objectives of earlier stages whose models it reads; these stand aside."""
        return ()

    def refuses(self, delta: Delta) -> str | None:
        """Return why this objective cannot train a model with a delta, its own or that of an earlier stage, or None."""
        return None

    def adopt(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model in the class that this objective trains.

        New weights are drawn from torch's global generator, which is seeded from the run's seed, so that paired runs
        share them.
        """
        return model

    def beside(self, model: PreTrainedModel, data: Data) -> None:
        """Put further modules that train into the model, which is complete with its delta; none by default."""

    def alone(self, model: PreTrainedModel) -> None:
        """Take away what `beside` has put into the model, if it is there."""

    def release(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the trained model as it is exported, without layers that only training needs."""
        return model

    @abstractmethod
    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        """Return the stage's data.

        `model` is the stage's initial model in evaluation mode, before any delta; it can serve as a reference. Called
        on every start and resume, always with the same weights.
        """

    def step_sums(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """Return sums over a micro-batch, float64 [n], of which the loss needs those over the whole step."""
        raise NotImplementedError

    def with_step_sums(
        self,
        call: Callable[..., torch.Tensor],
        batches: Sequence[tuple[Batch, float]],
        summed: Callable[[torch.Tensor], torch.Tensor] = lambda sums: sums,
    ) -> Sequence[tuple[Batch, float]]:
        """Return a step's micro-batches and their factors, with `step_sums` where the loss needs these.

        `call(function, batch)` calls with the model; `summed` adds over the processes of the run.
        """
        if not self.sums_of_step:
            return batches
        import torch

        with torch.no_grad():
            total = summed(sum(call(self.step_sums, batch) * factor for batch, factor in batches))  # type: ignore[arg-type]
        return [(b._replace(tensors={**b.tensors, "step_sums": total}), factor) for b, factor in batches]

    @abstractmethod
    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the loss sums of a micro-batch."""

    def evaluate(self, model: PreTrainedModel, setting: Setting, out: Path) -> Evaluation:
        """Score the held-out rows, write per-row scores into `out` as Parquet, and return the sums.

        `model` is in evaluation mode and includes its delta.
        """
        return Evaluation(totals={})
