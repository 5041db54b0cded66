"""Sampling of replies in batches, with random numbers that belong to a reply and a place in it.

The k-th token of a reply is drawn with the k-th number of the reply's own stream, so a reply depends on the model and
its prompt alone (up to rounding, which differs with the batch), and two models that agree draw the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from windtunnel.trainer.data.packing import micro_batches
from windtunnel.trainer.data.splitmix import GOLDEN, finalise
from windtunnel.trainer.modules.caching import cached_step
from windtunnel.trainer.modules.heads import learns_positions


class Sampled(NamedTuple):
    """The tokens of a reply, with the one that ends it, if there is one."""

    ids: list[int]
    ended: bool  # False: it has as many tokens as there may be, and no end
    entropy: float  # mean over its tokens, in nats, of the distributions that they were drawn from; nan: not known
    served: list[float] | None = None  # log-probabilities at the temperature 1 that a server says its tokens had


def uniforms(keys: np.ndarray, count: int) -> np.ndarray:
    """Return `count` numbers in [0, 1) for each key, float64 [keys, count]; keys are uint64."""
    with np.errstate(over="ignore"):
        places = keys[:, None] + (np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)[None]
        return (finalise(finalise(places)) >> np.uint64(11)) / 2.0**53


@torch.no_grad()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    numbers: np.ndarray,
    ends: Sequence[int],
    temperature: float,
    batch_tokens: int,
) -> list[Sampled]:
    """Return a reply to each prompt of at most `numbers.shape[1]` tokens; numbers: float64 [prompts, tokens].

    A batch holds at most `batch_tokens` tokens of prompts and replies. With a temperature of 0 the likeliest token is
    taken.
    """
    out: list[Sampled] = [Sampled([], False, 0.0)] * len(prompts)
    for group in _groups(model, prompts, numbers.shape[1], batch_tokens):
        batch = _Batch(model, [prompts[k] for k in group], numbers[group], set(ends), temperature)
        for k, found in zip(group, batch.run(), strict=True):
            out[k] = found
    return out


def _groups(model: Any, prompts: Sequence[Sequence[int]], limit: int, batch_tokens: int) -> list[list[int]]:
    if not learns_positions(model):
        return micro_batches([len(prompt) + limit for prompt in prompts], batch_tokens)
    groups = []  # padding would stand between the trained positions and the text
    for length in sorted({*map(len, prompts)}):
        same = [k for k, prompt in enumerate(prompts) if len(prompt) == length]
        size = max(1, batch_tokens // (length + limit))
        groups += [same[k : k + size] for k in range(0, len(same), size)]
    return groups


class _Batch:
    """A batch of replies in the making; those that have ended leave it when they are half of it."""

    def __init__(
        self, model: Any, prompts: list[Sequence[int]], numbers: np.ndarray, ends: set[int], temperature: float
    ) -> None:
        self.model, self.ends, self.temperature = model, ends, temperature
        self.numbers = torch.from_numpy(numbers).to(model.device)
        known = {tuple(prompt): None for prompt in prompts}  # read once, however many replies there are to each
        place = {prompt: row for row, prompt in enumerate(known)}
        self.prompt_of = torch.tensor([place[tuple(prompt)] for prompt in prompts])
        width = max(map(len, prompts))
        self.ids = torch.full((len(known), width), next(iter(sorted(ends)), 0))
        self.mask = torch.zeros((len(known), width), dtype=torch.long)
        for row, prompt in enumerate(known):  # pad on the left, so that new tokens follow the prompt
            self.ids[row, width - len(prompt) :] = torch.tensor(prompt)
            self.mask[row, width - len(prompt) :] = 1
        self.new: list[list[int]] = [[] for _ in prompts]
        self.entropy = np.zeros(len(prompts))

    def run(self) -> list[Sampled]:
        """Return the replies."""
        device, learnt = self.model.device, learns_positions(self.model)
        ids, mask, cache = self.ids.to(device), self.mask.to(device), None
        rows = torch.arange(len(self.new), device=device)  # those that go on
        positions, which = (mask.cumsum(1) - 1).clamp(min=0), self.prompt_of.to(device)
        model = self.model
        for place in range(self.numbers.shape[1]):
            more: dict[str, Any] = {} if learnt else {"attention_mask": mask, "position_ids": positions}
            logits, cache = cached_step(model, ids, cache, **more)
            if not place:
                logits, mask, positions = logits[which], mask[which], positions[which]
                cache.batch_select_indices(which)
            tokens, entropy = _drawn(logits, self.numbers[rows, place], self.temperature)
            for row, token, nats in zip(rows.tolist(), tokens.tolist(), entropy.tolist(), strict=True):
                if not self.new[row] or self.new[row][-1] not in self.ends:
                    self.new[row].append(token)
                    self.entropy[row] += nats
            going = torch.tensor([self.new[row][-1] not in self.ends for row in rows.tolist()], device=device)
            if not going.any():
                break
            ids, positions = tokens[:, None], positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            if 2 * int(going.sum()) <= len(going):
                left = going.nonzero()[:, 0]
                rows, ids, positions, mask = rows[left], ids[left], positions[left], mask[left]
                cache.batch_select_indices(left)
            if learnt and model is self.model:  # the cache holds the trained positions now
                model = self.model.get_base_model()
        ended = [row[-1] in self.ends for row in self.new]
        return [
            Sampled(row, end, float(nats) / len(row))
            for row, end, nats in zip(self.new, ended, self.entropy, strict=True)
        ]


def _drawn(logits: torch.Tensor, numbers: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens drawn by the inverse of the distribution function, and the distributions' entropies in nats."""
    logits = logits.float()
    if temperature == 0:
        return logits.argmax(-1), torch.zeros(len(logits))
    logps = (logits / temperature).log_softmax(-1)
    probabilities = logps.exp()
    entropy = -(probabilities * logps.clamp(min=-1e4)).sum(-1)
    sums = probabilities.double().cumsum(-1)
    tokens = (sums <= numbers[:, None] * sums[:, -1:]).sum(-1)
    return tokens.clamp(max=logits.shape[-1] - 1), entropy
