"""Text-to-text fine-tuning of an encoder with a decoder: the text is read, the last turn is written (T5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.data.labelled import MOST, Frame, Labels, labelled_batches, text_batches
from windtunnel.trainer.models._model import ModelKind
from windtunnel.trainer.objectives._label_objective import LabelData, LabelObjective
from windtunnel.trainer.objectives._objective import Data, Evaluation, Loss, Setting

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class TextToText(LabelObjective):
    """Cross-entropy of the last turn's tokens and what ends it, in nats per token (Raffel et al. 2020).

    Any conversations serve; `context` limits what is read. Held-out answers get their likelihood, and where the last
    turns of the training rows are labels, a small closed set, every label its own.
    """

    trains: ClassVar[tuple[ModelKind, ...]] = ("seq2seq",)
    unit: ClassVar[str] = "nats per token"
    scores: ClassVar[bool] = True

    def frame(self, setting: Setting) -> Frame:
        end: Any = setting.tokenizer.eos_token_id
        return Frame([], [end], [end])

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        rows = self.rows(setting, self.kind)
        return LabelData(rows, self.schedule(rows, setting), self.micro_tokens, np.zeros(len(rows), np.int64))

    def label_logits(self, model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        raise NotImplementedError("labels are written, token by token: see `label_nats`")

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the tokens of the micro-batch's answers."""
        from windtunnel.trainer.losses.cross_entropy import summed_nats
        from windtunnel.trainer.modules.heads import output_weight

        states, targets = _answer_states(model, batch.tensors)
        return Loss(summed_nats(states, output_weight(model), targets), float(len(targets)), {})

    def label_nats(self, model: PreTrainedModel, rows: Rows, labels: Labels) -> np.ndarray:
        """Return the nats of every label of a row's source, float64 [rows, labels]; NaN for other labels."""
        out, sources = np.full((len(rows), len(labels.names)), np.nan), rows.sources.to_pylist()
        loaded = [rows[k] for k in range(len(rows))]
        asked = [(k, number) for k, source in enumerate(sources) for number in labels.of_source(str(source))]
        texts = [loaded[k].ids[~loaded[k].target] for k, _ in asked]
        answers = [np.asarray(labels.tokens[number], np.int64) for _, number in asked]
        for group, tensors in text_batches(texts, answers, self.micro_tokens):
            nats = _answer_nats(model, tensors)
            for place, value in zip(group, nats.tolist(), strict=True):
                out[asked[place]] = value
        return out

    def evaluate(self, model: PreTrainedModel, setting: Setting, out: Path) -> Evaluation:
        """Score the answers of held-out rows into `scores.parquet`, and labels into `labels.parquet`."""
        from windtunnel.trainer.eval.chat_evaluate import write_scores

        if "held_out_conversations" not in setting.inputs:
            return Evaluation({})
        rows = self.rows(setting, "held_out_conversations")
        nats = np.empty(len(rows))
        for numbers, batch in labelled_batches(
            rows, range(len(rows)), np.zeros(len(rows), np.int64), self.micro_tokens
        ):
            nats[numbers] = _answer_nats(model, batch.tensors)
        totals, metrics = write_scores(rows, nats, out / "scores.parquet")
        few = len(Labels(self.rows(setting, self.kind), self.encoder(setting)).names)
        further = super().evaluate(model, setting, out).metrics if 2 <= few <= MOST else {}
        return Evaluation(totals, metrics | further)


def _answer_states(model: Any, tensors: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the states that predict the tokens of all answers [tokens, width], and these tokens."""
    from windtunnel.trainer.modules.seq2seq import target_states

    ids, attended, targets, scored = (
        tensors[name].to(model.device) for name in ("input_ids", "attended", "targets", "scored")
    )
    return target_states(model, ids, targets, attended)[scored], targets[scored]


def _answer_nats(model: Any, tensors: dict[str, torch.Tensor]) -> np.ndarray:
    """Return the nats of each row's answer, float64 [rows]."""
    import torch

    from windtunnel.trainer.losses.cross_entropy import token_nats
    from windtunnel.trainer.modules.heads import output_weight

    with torch.no_grad():
        states, targets = _answer_states(model, tensors)
        values = token_nats(states, output_weight(model), targets).double().cpu().numpy()
    scored = tensors["scored"].cpu().numpy()
    return np.bincount(np.repeat(np.arange(len(scored)), scored.sum(1)), values, len(scored))
