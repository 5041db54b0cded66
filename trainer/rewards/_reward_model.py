"""Reward models: a language model's body with a scalar head, read at the last token of the answer.

Saved directories are sequence classifiers of transformers: `AutoModelForSequenceClassification` on a padded batch
returns the rewards that training used.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.model_delta import with_delta
from windtunnel.schemas.weight_files import check_weights
from windtunnel.trainer.data.chat import ChatEncoder, prepare
from windtunnel.trainer.data.chat_batches import in_micro_batches, last_turns
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.losses.target_logps import model_inputs
from windtunnel.trainer.modules.heads import hidden_states

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def with_reward_head(model: PreTrainedModel) -> PreTrainedModel:
    """Return a sequence-classification model with the same body; a model that already has the head is returned as is.

    The head's weights are drawn with standard deviation 1/sqrt(width + 1) (Stiennon et al. 2020), so that rewards start
    near zero. Raises InputError for an architecture without such a model in transformers.
    """
    from windtunnel.trainer.modules.sequence_head import head_name, with_sequence_head

    if isinstance(getattr(model, "score", None), nn.Module):
        return model
    out = with_sequence_head(model, 1)
    if head_name(out) != "score":
        raise InputError(f"the sequence classification of {out.config.model_type!r} has no single linear `score` head")
    return out


def choose_padding(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel) -> None:
    """Set the padding token of tokenizer and model to a special token that never ends an answer, if there is one.

    transformers reads the reward at the last token that is not padding. If the end-of-turn token is also the padding,
    as in many chat models, the reward is read one token early; this happens only if there is no other special token.
    """
    end = ChatEncoder(tokenizer).end_id
    named = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    others = sorted(k for k, token in tokenizer.added_tokens_decoder.items() if token.special)
    free = [k for k in [*named, *others] if k is not None and k != end]
    padding = free[0] if free else end
    if padding is None:
        raise InputError("the tokenizer has no special token to pad with; a reward model needs one")
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding)
    model.config.pad_token_id = padding


def rewards(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the reward of every sequence of a packed batch, float32 [sequences]."""
    plain = (
        model.get_base_model() if hasattr(model, "get_base_model") else model
    )  # the body contains the layers of a delta
    inputs = model_inputs(model, batch)
    hidden = hidden_states(model, inputs.pop("input_ids"), **inputs)
    ends = batch["ends"].to(model.device)
    padding = batch["input_ids"].to(model.device).view(-1)[ends] == plain.config.pad_token_id
    last = hidden.reshape(-1, hidden.shape[-1]).index_select(0, ends - padding.long())
    return plain.score(last)[:, 0].float()


def value_model(policy: PreTrainedModel, reward: Path | None, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Return the model that values are learnt by: the reward model of a directory, else the policy with a new head.

    A reward model with another tokenizer cannot read the policy's tokens: the policy is taken. The new head is zero.
    """
    if reward is not None:
        scorer = RewardScorer(reward)
        if scorer.encoder.tokenizer.get_vocab() == tokenizer.get_vocab():
            return scorer.model.to(policy.device).train().requires_grad_(True)
    model: Any = with_reward_head(copy.deepcopy(policy))
    nn.init.zeros_(model.score.weight)
    return model.train().requires_grad_(True)


def values_before(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return a value model's estimate at the state before every target token of a packed batch, float32 [targets]."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    inputs = model_inputs(model, batch)
    hidden = hidden_states(model, inputs.pop("input_ids"), **inputs)
    states = hidden.reshape(-1, hidden.shape[-1]).index_select(0, batch["sources"].to(model.device))
    return plain.score(states)[:, 0].float()


@torch.no_grad()
def pair_rewards(model: PreTrainedModel, rows: Rows, micro_tokens: int | None, share: bool) -> np.ndarray:
    """Return the rewards of (chosen, rejected) of every row, float64 [rows, 2]."""

    out = np.empty((len(rows), 2))
    for batch, numbers in in_micro_batches(rows, micro_tokens, share):
        out[numbers] = rewards(model, batch.tensors).view(-1, 2).cpu().numpy()
    return out


class RewardScorer:
    """A saved reward model that scores the last answer of conversations, for the judge `reward:DIR`."""

    def __init__(self, path: Path, micro_tokens: int = 8192):
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        check_weights(path)
        options: Any = {"local_files_only": True, "trust_remote_code": False}
        base = AutoModelForSequenceClassification.from_pretrained(
            str(path), dtype=torch.float32, use_safetensors=True, **options
        )
        self.model = with_delta(base, path).eval()
        tokenizer = AutoTokenizer.from_pretrained(str(path), **options)
        prepare(tokenizer)
        self.encoder = ChatEncoder(tokenizer)
        self.micro_tokens = micro_tokens
        self.limit: int | None = getattr(base.config, "max_position_embeddings", None)

    @torch.no_grad()
    def score(self, conversations: Sequence[Sequence[dict[str, str]]], refused: list[int] | None = None) -> list[float]:
        """Return one reward per conversation, for its last turn.

        Raises ChatError for an invalid conversation, or adds its index to `refused` and returns NaN.
        """
        out = np.full(len(conversations), np.nan)
        for group, batch in last_turns(self.encoder, conversations, self.micro_tokens, refused, self.limit):
            out[group] = rewards(self.model, batch).numpy()
        return out.tolist()
