"""Answers of a model without a chat template: the continuation of a prompt, and how likely it finds another.

Prompt and answer follow the token that begins a text (the tokenizer's own, or end-of-text), with a space between them,
and special tokens in them are ordinary text. A short reply ends with its first line, because such a model does not end
a turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from windtunnel.trainer.data.packing import micro_batches
from windtunnel.trainer.eval.greedy import greedy
from windtunnel.trainer.eval.likelihood import TextScorer
from windtunnel.trainer.models._model import load
from windtunnel.trainer.tasks._evaluation import Pieces
from windtunnel.trainer.tasks._task import first_line

SPARE_TOKENS = 8  # allowed beyond the length of the correct answer


class PlainReplier:
    """A plain language model as an Asker (windtunnel.trainer.tasks._evaluation)."""

    chat = False

    def __init__(self, path: Path, batch_tokens: int, device: str = "cpu"):
        self.path = path
        self.model: Any = load(path, "causal").to(device).eval()  # pyright: ignore[reportArgumentType]
        self.batch_tokens = batch_tokens
        self.scorer = TextScorer(path, self.model, batch_tokens)
        self.encoder, self.context = self.scorer.encoder, self.scorer.context

    def refusal(self, prompt: str, tokens: int, answer: str = "") -> str | None:
        """Return `too_long` where prompt and reply exceed the context, or None."""
        return "too_long" if len(self._ids([prompt])[0]) + 1 + tokens > self.context else None

    def room(self, answers: Sequence[str]) -> int:
        """Return the largest number of tokens of a reply, given the correct answers."""
        return max((len(ids) for ids in self._ids(answers)), default=0) + SPARE_TOKENS

    def replies(self, prompts: Sequence[str], answers: Sequence[str]) -> list[str]:
        """Return the greedy reply to every prompt, limited by the correct answer's length."""
        texts = self._replies(prompts, [len(ids) + SPARE_TOKENS for ids in self._ids(answers)])
        return [first_line(text) for text in texts]

    def free_replies(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """Return the greedy reply to every prompt, at most `max_tokens` long."""
        return self._replies(prompts, [max_tokens] * len(prompts))

    def answer_nats(self, prompts: Sequence[str], answers: Sequence[str], ended: bool = True) -> np.ndarray:
        """Return the nats of every answer after its prompt and a space, float64 [prompts]; no turn is ended."""
        before, after = self._ids(prompts), self._ids([f" {answer}" for answer in answers])
        return np.array([found.nats.sum() for found in self.scorer.scores(before, after)])

    def pieces(self, contexts: Sequence[Sequence[str]], texts: Sequence[Sequence[str]]) -> list[Pieces]:
        """Return the scores of the pieces of each text after its context."""
        return self.scorer.pieces(contexts, texts)

    def harness_model(self) -> Any:
        """Return the model behind the interface `LM` of lm-eval."""
        from windtunnel.trainer.eval.lm_eval_model import LmEvalModel

        return LmEvalModel(self.path, self.model, self.batch_tokens)

    def _ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        return self.scorer.ids(texts)

    @torch.inference_mode()
    def _replies(self, prompts: Sequence[str], limits: Sequence[int]) -> list[str]:
        ids = [[self.scorer.start, *prompt.tolist()] for prompt in self._ids(prompts)]
        out = [""] * len(prompts)
        sizes = [len(prompt) + limit for prompt, limit in zip(ids, limits, strict=True)]
        for group in micro_batches(sizes, self.batch_tokens):
            longest, ends = max(limits[k] for k in group), [self.encoder.end_of_text]
            found = greedy(self.model, [ids[k] for k in group], longest, ends)
            for k, reply in zip(group, found, strict=True):
                out[k] = self.encoder.backend.decode(list(reply[: limits[k]]), skip_special_tokens=True).lstrip(" ")
        return out
