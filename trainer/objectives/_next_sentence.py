"""BERT's next-sentence head: two classes on the pooled state of the first position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def with_next_sentence_head(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model as BertForPreTraining; pooler and head are drawn from torch's global generator."""
    from transformers.models.bert.modeling_bert import BertForPreTraining

    if isinstance(model, BertForPreTraining):
        return model
    whole = BertForPreTraining(model.config)
    whole.load_state_dict(model.state_dict(), strict=False)
    return whole


def without_next_sentence_head(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model as BertForMaskedLM, without pooler and next-sentence head."""
    from transformers.models.bert.modeling_bert import BertForMaskedLM

    plain = BertForMaskedLM(model.config)
    plain.load_state_dict(model.state_dict(), strict=False)
    return plain.eval()


def next_sentence_loss(model: Any, pooled: torch.Tensor, follows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (summed nats, number of right answers) of rows [rows, width]; follows is 1 where the text goes on."""
    scores = model.cls.seq_relationship(pooled).float()
    nats = torch.nn.functional.cross_entropy(scores, 1 - follows, reduction="sum")  # transformers: class 0 follows
    return nats, (scores.detach().argmax(1) == 1 - follows).sum()
