"""Greedy generation in a batch with transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


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
    return [row[: min([row.index(end) for end in ends if end in row], default=len(row))] for row in generated]
