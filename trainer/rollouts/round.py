"""A round: replies to a set of prompts by the model as it is, their rewards, and what models say of their tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_batches import pack_rows
from windtunnel.trainer.data.packing import Row, micro_batches, tensors

if TYPE_CHECKING:
    import torch

PerToken = list[np.ndarray]  # of each reply, float [tokens]


@dataclass
class Round:
    """Replies in the order of prompts and samples; those of one prompt lie side by side."""

    ids: list[str]  # of the row that each replies to
    rows: list[Row]  # prompt and reply, whose tokens are the targets
    samples: int  # replies to each prompt
    rewards: np.ndarray  # float64 [replies]
    entropy: np.ndarray  # float64 [replies], mean over the tokens in nats
    ended: np.ndarray  # bool [replies]
    failed: int  # replies on which a verifier failed
    old: PerToken = field(default_factory=list)  # log-probabilities under the model that drew them
    reference: PerToken = field(default_factory=list)  # and under the one that the stage began with
    values: PerToken = field(default_factory=list)  # of a value model

    @property
    def tokens(self) -> np.ndarray:
        """Tokens of each reply, int64 [replies]."""
        return np.array([int(row.target.sum()) for row in self.rows])

    @property
    def kl(self) -> np.ndarray:
        """The log-ratio to the reference summed over each reply, in nats, which estimates the KL divergence."""
        return np.array([float((a - b).sum()) for a, b in zip(self.old, self.reference, strict=True)])

    @property
    def groups(self) -> np.ndarray:
        """The rewards, float64 [prompts, samples]."""
        return self.rewards.reshape(-1, self.samples)


def paired(one: Row, other: Row) -> Row:
    """Return the row of a prompt with two replies, as those of preferences are."""
    replies = [(row.ids[row.target], row.target[row.target]) for row in (one, other)]
    prompt = one.ids[~one.target]
    sizes = [len(prompt), *(len(ids) for ids, _ in replies)]
    ids = np.concatenate([prompt, *(ids for ids, _ in replies)])
    target = np.concatenate([np.zeros(len(prompt), bool), *(learnt for _, learnt in replies)])
    return Row(ids, target, np.repeat(np.array([0, 1, 2], np.uint8), sizes))


def packed(
    rows: Sequence[Row],
    micro_tokens: int | None,
    share: bool,
    per_token: Mapping[str, PerToken],
    per_reply: Mapping[str, np.ndarray],
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Yield (numbers of replies, tensors) of micro-batches, with the values of their tokens and of their replies."""
    import torch

    for group in micro_batches([len(row.ids) for row in rows], micro_tokens):
        group.sort()
        out = tensors(pack_rows([rows[k] for k in group], share))
        for name, values in per_token.items():
            out[name] = torch.from_numpy(np.concatenate([values[k] for k in group]).astype(np.float32))
        for name, each in per_reply.items():
            out[name] = torch.from_numpy(np.asarray(each)[group].astype(np.float32))
        yield group, out


def of_tokens(
    call: Callable[..., Any],
    function: Callable[..., torch.Tensor],
    rows: Sequence[Row],
    micro_tokens: int | None,
    share: bool,
) -> PerToken:
    """Return what `function` gives for the target tokens of each row, without gradients, float64."""
    import torch

    out: PerToken = [np.empty(0)] * len(rows)
    with torch.no_grad():
        for group, batch in packed(rows, micro_tokens, share, {}, {}):
            values = call(function, batch).double().cpu().numpy()
            ends = np.cumsum([int(rows[k].target.sum()) for k in group])
            for k, part in zip(group, np.split(values, ends[:-1]), strict=True):
                out[k] = part
    return out


def micro_batches_of(
    rows: Sequence[Row],
    ids: Sequence[str],
    chosen: Sequence[int],
    micro_tokens: int | None,
    share: bool,
    per_token: Mapping[str, PerToken],
    per_reply: Mapping[str, np.ndarray],
) -> list[Batch]:
    """Return the micro-batches of the chosen rows, with the ids of what they answer."""
    rows = [rows[k] for k in chosen]
    some = {name: [values[k] for k in chosen] for name, values in per_token.items()}
    each = {name: np.asarray(values)[list(chosen)] for name, values in per_reply.items()}
    return [
        Batch(batch, sum(len(rows[k].ids) for k in group), [ids[chosen[k]] for k in group])
        for group, batch in packed(rows, micro_tokens, share, some, each)
    ]
