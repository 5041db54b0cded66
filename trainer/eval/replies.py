"""A model directory that replies: greedily, in batches of like length, by transformers' own generation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from windtunnel.trainer.data.chat import ChatEncoder, ChatError, prepare
from windtunnel.trainer.data.packing import Row, micro_batches, pack, tensors
from windtunnel.trainer.losses.target_logps import sum_by_owner, target_log_probs
from windtunnel.trainer.models._model import load
from windtunnel.trainer.modules.export import open_tokenizer

SPARE_TOKENS = 8  # beyond the right answer's length: enough for a full stop or a line break, not for a speech


class Replier:
    """One model and its chat template, for prompts of one user turn."""

    def __init__(self, path: Path, batch_tokens: int, device: str = "cpu"):
        self.tokenizer = open_tokenizer(path)
        self.model: Any = load(path).to(device).eval()  # pyright: ignore[reportArgumentType]
        prepare(self.tokenizer, self.model)
        self.encoder = ChatEncoder(self.tokenizer)
        self.batch_tokens = batch_tokens

    def refusal(self, prompt: str, tokens: int, answer: str = "") -> str | None:
        """Return why a prompt cannot be asked for a reply of up to `tokens`, or None.

        `special_token`: prompt or answer holds one and could forge a turn. `too_long`: the model has no such positions.
        """
        try:
            self.encoder.prompt_ids([_said("user", prompt + answer)])
            asked = len(self.encoder.prompt_ids([_said("user", prompt)]))
        except ChatError:
            return "special_token"
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return "too_long" if positions is not None and asked + tokens > positions else None

    def room(self, answers: Sequence[str]) -> int:
        """Return how many tokens replies may take, given the right answers: a batch goes on for its longest one."""
        return max((self._length(answer) for answer in answers), default=0) + SPARE_TOKENS

    @torch.inference_mode()
    def replies(self, prompts: Sequence[str], answers: Sequence[str]) -> list[str]:
        """Return the greedy reply to every prompt; the right answers say how long it may be. Raises ChatError."""
        ids = [self.encoder.prompt_ids([_said("user", prompt)]) for prompt in prompts]
        lengths = [self._length(answer) for answer in answers]
        out = [""] * len(prompts)
        for group in micro_batches([len(prompt) for prompt in ids], self.batch_tokens):
            limit = max(lengths[k] for k in group) + SPARE_TOKENS
            for k, reply in zip(group, self._generate([ids[k] for k in group], limit), strict=True):
                out[k] = self.encoder.decode(reply[: lengths[k] + SPARE_TOKENS])
        return out

    @torch.inference_mode()
    def free_replies(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """Return the greedy reply to every prompt, `max_tokens` long at most. Raises ChatError."""
        ids = [self.encoder.prompt_ids([_said("user", prompt)]) for prompt in prompts]
        out = [""] * len(prompts)
        for group in micro_batches([len(prompt) + max_tokens for prompt in ids], self.batch_tokens):
            for k, reply in zip(group, self._generate([ids[k] for k in group], max_tokens), strict=True):
                out[k] = self.encoder.decode(reply)
        return out

    @torch.inference_mode()
    def answer_nats(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """Return the nats of every right answer after its prompt, the token that ends the turn included."""
        rows = []
        for prompt, answer in zip(prompts, answers, strict=True):
            ids, target = self.encoder.encode([_said("user", prompt), _said("assistant", answer)])
            rows.append(Row(np.asarray(ids), np.asarray(target), np.zeros(len(ids), np.uint8)))
        out = np.empty(len(rows))
        for group in micro_batches([len(row.ids) for row in rows], self.batch_tokens):
            batch = tensors(pack([rows[k] for k in group], pad_id=0, one_per_bin=True))
            values = target_log_probs(self.model, batch).double().cpu()
            out[group] = -sum_by_owner(values, batch["owners"], len(group)).numpy()
        return out

    def _length(self, answer: str) -> int:
        return len(self.tokenizer.encode(answer, add_special_tokens=False))

    def _generate(self, prompts: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        """Return the new token ids of each prompt, those of padding and after the end left out."""
        config = self.model.generation_config
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        pad = next((k for k in ends if k is not None), 0)
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), pad)
        mask = torch.zeros((len(prompts), width), dtype=torch.long)
        for row, prompt in enumerate(prompts):  # padding on the left: new tokens follow the prompt
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        made = self.model.generate(
            input_ids=ids.to(self.model.device), attention_mask=mask.to(self.model.device), max_new_tokens=limit,
            do_sample=False, num_beams=1, pad_token_id=pad, repetition_penalty=1.0,
        )[:, width:].tolist()  # fmt: skip
        return [row[: min([row.index(end) for end in ends if end in row], default=len(row))] for row in made]


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
