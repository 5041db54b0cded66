"""The base class of objectives that read a label off a model: from a head, or from words at a place of a prompt.

Rows are labelled conversations (trainer.data.labelled). The labels are those of the training rows, sorted; they stand
in the configuration of the exported model as `id2label`. Held-out rows are scored on the scale of all ways to a label
(trainer.eval.label_items).
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from windtunnel.schemas.artifact import canonical_json, write_text
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_rows import Limits, Rows, encoded_rows
from windtunnel.trainer.data.labelled import Frame, LabelEncoder, Labels, encode_labelled, labelled_batches
from windtunnel.trainer.models._model import ModelKind
from windtunnel.trainer.objectives._chat_objective import ENCODED, ChatData, ChatObjective
from windtunnel.trainer.objectives._objective import Data, Evaluation, Loss, Setting

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class LabelObjective(ChatObjective):
    """An objective on labelled rows. `batch_tokens` and `budget` count the tokens of labels."""

    trains: ClassVar[tuple[ModelKind, ...]] = ("causal", "masked")
    unit: ClassVar[str] = "nats per row"
    scores: ClassVar[bool] = False
    gives_labels: ClassVar[bool] = True

    lr: float = Field(1e-3, gt=0)
    batch_tokens: int = Field(64, gt=0)

    @abstractmethod
    def frame(self, setting: Setting) -> Frame:
        """Return what stands around a text."""

    @abstractmethod
    def label_logits(self, model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of all labels, float32 [rows, labels]; `tensors` are those of `text_batches`."""

    def make_ready(self, setting: Setting, model: PreTrainedModel, labels: Labels, encoder: LabelEncoder) -> None:
        """Give the model what depends on the labels; called whenever the stage is opened, before any delta."""
        model.config.id2label = dict(enumerate(labels.names))
        model.config.label2id = {name: number for number, name in enumerate(labels.names)}

    def encoder(self, setting: Setting) -> LabelEncoder:
        """Return the encoder of texts and labels."""
        return LabelEncoder(setting.tokenizer, self.frame(setting))

    def encoding(self, role: str) -> str:
        """Return `labelled`, which no chat template has a part in."""
        return "labelled"

    def encoded_as(self, kind: str, files: list[Path], limits: Limits, setting: Setting, content: str) -> Rows:
        return encoded_rows(kind, files, self.encoder(setting), limits, setting.cache, content, encode=encode_labelled)

    def labels(self, setting: Setting) -> Labels:
        """Return the labels of the training rows. Raises InputError if they are no small closed set."""
        return Labels(self.rows(setting, self.kind), self.encoder(setting)).check()

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        rows, encoder = self.rows(setting, self.kind), self.encoder(setting)
        labels = Labels(rows, encoder).check()
        self.make_ready(setting, model, labels, encoder)
        return LabelData(rows, self.schedule(rows, setting), self.micro_tokens, labels.numbers(rows))

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed cross-entropy over the micro-batch's rows."""
        from torch.nn import functional as F

        logits = self.label_logits(model, batch.tensors)
        classes = batch.tensors["classes"].to(logits.device)
        right = (logits.detach().argmax(1) == classes).sum()
        return Loss(F.cross_entropy(logits, classes, reduction="sum"), float(len(classes)), {"accuracy": right})

    def label_nats(self, model: PreTrainedModel, rows: Rows, labels: Labels) -> np.ndarray:
        """Return the nats of every label for every row, float64 [rows, labels]."""
        import torch

        out = np.empty((len(rows), len(labels.names)))
        with torch.no_grad():
            for numbers, batch in labelled_batches(rows, range(len(rows)), labels.numbers(rows), self.micro_tokens):
                logits = self.label_logits(model, batch.tensors)
                out[numbers] = -logits.log_softmax(1).double().cpu().numpy()
        return out

    def evaluate(self, model: PreTrainedModel, setting: Setting, out: Path) -> Evaluation:
        """Score the labels of held-out rows into `labels.parquet`."""
        from windtunnel.trainer.eval.label_items import FILE, write_items

        if "held_out_conversations" not in setting.inputs:
            return Evaluation({})
        rows, labels = self.rows(setting, "held_out_conversations"), self.labels(setting)
        metrics = write_items(rows, labels, self.encoder(setting), self.label_nats(model, rows, labels), out / FILE)
        write_text(out / ENCODED, canonical_json(self.encoded(setting)))
        return Evaluation({}, metrics)

    def encoded(self, setting: Setting) -> list[dict[str, Any]]:
        roles = [role for role in (self.kind, "held_out_conversations") if role in setting.inputs]
        return [part.model_dump() for role in roles for part in self._encoded(setting, role)]

    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, float]:
        """Return nothing: labels do not say which of two answers is better."""
        return {}


class LabelData(ChatData):
    """Batches of labelled rows, texts padded on the right; a row counts whole where the budget ends in it."""

    def __init__(self, rows: Rows, schedule: Any, micro_tokens: int | None, classes: np.ndarray) -> None:
        super().__init__(rows, schedule, micro_tokens, False, {})
        self.classes = classes

    def batch(self, step: int) -> list[Batch]:
        numbers = [part.row for part in self.schedule.parts(step)]
        return [batch for _, batch in labelled_batches(self.rows, numbers, self.classes, self.micro_tokens)]
