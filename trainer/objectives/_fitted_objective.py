"""Objectives that are no loss for the training loop: they fit a model from the stage's data at once."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.objectives._objective import Data, Loss, Measure, Objective, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Fitted(NamedTuple):
    """What a fit took and left."""

    parameters: int
    tokens: int  # of the mix that were read
    flops: float
    loss: float  # the objective's own, at the end
    realised: list[dict[str, Any]]  # rows as of `Data.realised`
    documents: int


class FittedObjective(Objective):
    """An objective whose `fit` does the whole stage. An interrupted stage begins again."""

    scores: ClassVar[bool] = False
    measure: ClassVar[Measure | None] = None

    @property
    def one_micro_batch(self) -> bool:
        """False: there are no steps."""
        return False

    @abstractmethod
    def fit(self, model: Model, setting: Setting, folder: Path) -> Fitted:
        """Fit a model and write its files into `folder`; equal settings give equal bytes."""

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        """Raise TypeError: there are no steps."""
        raise TypeError(f"{type(self).__name__} is fitted at once")

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Raise TypeError: there are no steps."""
        raise TypeError(f"{type(self).__name__} is fitted at once")
