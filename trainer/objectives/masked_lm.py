"""Masked-token prediction over a mix of corpora, with next-sentence prediction as an option (BERT)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.encoder import Encoder
from windtunnel.trainer.models._model import ModelKind
from windtunnel.trainer.objectives._mix_objective import Corruption, MixObjective
from windtunnel.trainer.objectives._objective import Loss, Measure, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class MaskedLM(MixObjective):
    """Cross-entropy of the hidden tokens in nats per hidden token (Devlin et al. 2019).

    Of these, 80 % show the mask token, 10 % a random token, 10 % themselves. A row is `[CLS]`, text, `[SEP]`. With
    `next_sentence` it is `[CLS]`, text, `[SEP]`, text, `[SEP]`; in half of the rows the second text is that of another
    row of the step, and the loss of telling which is added per row. Held-out documents get a pseudo-likelihood, which
    does not compare with a likelihood.
    """

    trains: ClassVar[tuple[ModelKind, ...]] = ("masked",)
    measure: ClassVar[Measure | None] = "pseudo_likelihood"
    examples: ClassVar = ({}, {"next_sentence": True})

    lr: float = Field(1e-3, gt=0)
    hidden: float = Field(0.15, gt=0, lt=1)  # share of the tokens that is to be predicted
    next_sentence: bool = False

    def row_tokens(self, context: int) -> int:
        return context - (3 if self.next_sentence else 2)

    def adopt(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model, with a next-sentence head where it is asked for."""
        if not self.next_sentence:
            return model
        from windtunnel.trainer.objectives._next_sentence import with_next_sentence_head

        return with_next_sentence_head(model)

    def release(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model without the next-sentence head."""
        if not self.next_sentence:
            return model
        from windtunnel.trainer.objectives._next_sentence import without_next_sentence_head

        return without_next_sentence_head(model)

    def corruption(self, setting: Setting, model: PreTrainedModel) -> Corruption:
        from windtunnel.trainer.data.masking import masked

        frame, end = _frame(setting.tokenizer), setting.tokenizer.eos_token_id
        vocabulary = model.config.vocab_size

        def corrupt(ids: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
            text = ids[:, :-1]  # the last token is the first of another row
            edge = [np.full((len(text), 1), token) for token in (frame.first, frame.last)]
            if self.next_sentence:
                half = text.shape[1] // 2
                second, follows = _other_rows(text[:, half:], generator)
                rows = np.concatenate([edge[0], text[:, :half], edge[1], second, edge[1]], 1)
                segments = np.broadcast_to(np.arange(rows.shape[1]) > half + 1, rows.shape).astype(np.int64)
                more = {"segments": segments, "follows": follows}
            else:
                rows, more = np.concatenate([edge[0], text, edge[1]], 1), {}
            eligible = (rows != frame.first) & (rows != frame.last) & (rows != end)
            out = masked(rows, eligible, self.hidden, frame.mask, vocabulary, generator)
            return {**out._asdict(), **more}

        return corrupt

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's hidden tokens."""
        from windtunnel.trainer.losses.cross_entropy import summed_nats
        from windtunnel.trainer.modules.heads import body, masked_head

        tensors = batch.tensors
        out = body(model)(input_ids=tensors["ids"], token_type_ids=tensors.get("segments"))
        states = out.last_hidden_state
        places = tensors["positions"][:, :, None].expand(-1, -1, states.shape[-1])
        hidden, weight = masked_head(model, states.gather(1, places).flatten(0, 1))
        total = summed_nats(hidden, weight, tensors["labels"].flatten())
        number = tensors["labels"].numel()
        if not self.next_sentence:
            return Loss(total, number, {})
        from windtunnel.trainer.objectives._next_sentence import next_sentence_loss

        a_row = tensors["labels"].shape[1]  # equal in all rows, so that sums per row become sums per hidden token
        nats, right = next_sentence_loss(model, out.pooler_output, tensors["follows"])
        metrics = {
            "masked_loss": total.detach(),
            "next_sentence_loss": nats.detach() * a_row,
            "next_sentence_accuracy": right * a_row,
        }
        return Loss(total + nats * a_row, number, metrics)

    def nats(
        self, model: PreTrainedModel, documents: list[np.ndarray], encoder: Encoder, setting: Setting, out: Path
    ) -> np.ndarray:
        from windtunnel.trainer.eval.pseudo_likelihood import pseudo_nats

        return pseudo_nats(model, documents, _frame(setting.tokenizer), setting.context, max(1, round(1 / self.hidden)))


def _frame(tokenizer: Any) -> Any:
    """Return the special tokens of a tokenizer. Raises InputError where one is missing."""
    from windtunnel.trainer.eval.pseudo_likelihood import Frame

    ids = [tokenizer.mask_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id]
    if None in ids:
        raise InputError("`masked_lm` needs a tokenizer with mask_token, cls_token and sep_token, as `bert` adds them")
    return Frame(mask=ids[0], first=ids[1], last=ids[2])


def _other_rows(second: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the second texts, in half of the rows those of one another, and 1 where a row's own text follows, else 0.

    Every text is in the step once. Raises RecipeError for a step of fewer than four rows.
    """
    if len(second) < 4:
        raise RecipeError("`next_sentence` takes texts of other rows, and a step has fewer than 4: raise batch_tokens")
    chosen = np.argsort(generator.random(len(second)))[: len(second) // 2]
    out, follows = second.copy(), np.ones(len(second), np.int64)
    out[chosen] = second[np.roll(chosen, 1)]
    follows[chosen] = 0
    return out, follows
