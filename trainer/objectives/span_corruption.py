"""Span corruption over a mix of corpora: an encoder and decoder writes what was cut out of a text (T5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.trainer.data import spans
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.encoder import Encoder
from windtunnel.trainer.models._model import ModelKind
from windtunnel.trainer.objectives._mix_objective import Corruption, MixObjective
from windtunnel.trainer.objectives._objective import Loss, Measure, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SpanCorruption(MixObjective):
    """Cross-entropy of the target in nats per target token (Raffel et al. 2020): spans that are cut out of the text.

    The text of a row is as long as fills the context once corrupted; tokens count the text, of which encoder and
    decoder see 1.1 times as many together. Held-out documents get the nats of a target that is the same for all models.
    """

    trains: ClassVar[tuple[ModelKind, ...]] = ("seq2seq",)
    measure: ClassVar[Measure | None] = "target"
    examples: ClassVar = ({}, {"hidden": 0.3, "span": 6.0})

    lr: float = Field(3e-3, gt=0)
    hidden: float = Field(0.15, gt=0, lt=1)  # share of the text that is cut out
    span: float = Field(3.0, ge=1)  # mean length of what is cut out at one place, in tokens

    def row_tokens(self, context: int) -> int:
        return spans.longest_text(context, self.hidden, self.span).text

    def corruption(self, setting: Setting, model: PreTrainedModel) -> Corruption:
        size = spans.lengths(self.row_tokens(setting.context), self.hidden, self.span)
        sentinel, number = _sentinels(setting.tokenizer)
        if size.spans > number:
            raise RecipeError(
                f"a text of {size.text} tokens loses {size.spans} spans, and the model has {number} sentinels: lower "
                "`context` or `hidden`, or raise `span`"
            )
        end: Any = setting.tokenizer.eos_token_id

        def corrupt(ids: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
            return spans.corrupted(ids[:, :-1], size, sentinel, end, generator)._asdict()

        return corrupt

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's targets."""
        from windtunnel.trainer.losses.cross_entropy import summed_nats
        from windtunnel.trainer.modules.heads import output_weight
        from windtunnel.trainer.modules.seq2seq import target_states

        targets = batch.tensors["targets"]
        states = target_states(model, batch.tensors["inputs"], targets)
        return Loss(summed_nats(states.flatten(0, 1), output_weight(model), targets.flatten()), targets.numel(), {})

    def nats(
        self, model: PreTrainedModel, documents: list[np.ndarray], encoder: Encoder, setting: Setting, out: Path
    ) -> np.ndarray:
        from windtunnel.trainer.eval.target_nats import target_nats

        sentinel, _ = _sentinels(setting.tokenizer)
        end: Any = setting.tokenizer.eos_token_id
        return target_nats(model, documents, setting.context, sentinel, end, self.hidden, self.span)


def _sentinels(tokenizer: Any) -> tuple[int, int]:
    """Return the id of `<extra_id_0>` and how many follow it in order. Raises InputError where there is none."""
    vocabulary = tokenizer.get_vocab()
    first, number = vocabulary.get("<extra_id_0>"), 0
    while first is not None and vocabulary.get(f"<extra_id_{number}>") == first + number:
        number += 1
    if first is None or number < 2:
        raise InputError(
            "`span_corruption` needs a tokenizer with sentinels `<extra_id_0>`, `<extra_id_1>`, ... that follow one "
            "another, as `t5` adds them"
        )
    return first, number
