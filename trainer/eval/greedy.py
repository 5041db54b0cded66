"""Greedy generation in a batch with transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from windtunnel.trainer.modules.caching import cached_step
from windtunnel.trainer.modules.heads import learns_positions


def greedy(
    model: Any,
    prompts: Sequence[Sequence[int]],
    limit: int,
    ends: Sequence[int],
    ended: Callable[[list[int]], bool] | None = None,
) -> list[list[int]]:
    """Return the new token ids of each prompt, up to the first of the `ends` and at most `limit`.

    Generation stops early where `ended` is true of the new ids of every prompt.
    """
    if learns_positions(model):
        return _after_learnt_positions(model, prompts, limit, ends, ended)
    pad = next(iter(ends), 0)
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):  # pad on the left, so that new tokens follow the prompt
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1

    def over(found: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        rows = found[:, width:].tolist()
        return torch.tensor([ended is not None and ended(row) for row in rows], device=found.device)

    generated = model.generate(
        input_ids=ids.to(model.device), attention_mask=mask.to(model.device), max_new_tokens=limit,
        do_sample=False, num_beams=1, pad_token_id=pad, eos_token_id=list(ends) or None, repetition_penalty=1.0,
        stopping_criteria=None if ended is None else [over],
    )[:, width:].tolist()  # fmt: skip
    return [_cut(row, ends) for row in generated]


def _after_learnt_positions(
    model: Any,
    prompts: Sequence[Sequence[int]],
    limit: int,
    ends: Sequence[int],
    ended: Callable[[list[int]], bool] | None,
) -> list[list[int]]:
    """Return what `greedy` does, for a model with trained positions before the text.

    The `generate` of peft counts the positions of such a text otherwise than its forward method (peft 0.21 with
    transformers 5), so that the model would be asked otherwise than it was trained. Prompts of one length go together,
    because padding would stand between the trained positions and the text.
    """
    out: list[list[int]] = [[] for _ in prompts]
    for length in sorted({*map(len, prompts)}):
        group = [row for row, prompt in enumerate(prompts) if len(prompt) == length]
        ids = torch.tensor([list(prompts[row]) for row in group], device=model.device)
        with torch.no_grad():
            logits, cache = cached_step(model, ids, None)
            while True:
                new = logits.argmax(-1)
                for row, token in zip(group, new.tolist(), strict=True):
                    out[row].append(token)
                full = len(out[group[0]]) == limit
                if full or all(set(ends) & set(out[row]) or (ended and ended(out[row])) for row in group):
                    break
                # the cache holds the trained positions now, so the model inside the wrapper goes on
                logits, cache = cached_step(model.get_base_model(), new[:, None], cache)
    return [_cut(row, ends) for row in out]


def _cut(row: list[int], ends: Sequence[int]) -> list[int]:
    """Return the ids before the first of the `ends`."""
    return row[: min([row.index(end) for end in ends if end in row], default=len(row))]
