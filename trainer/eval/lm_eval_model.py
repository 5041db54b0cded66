"""A model behind the interface `LM` of lm-eval: likelihoods and greedy text of its tasks' prompts.

Token ids are those of lm-eval's own backend for Hugging Face models (`--model hf`), so that its tasks give the same
figures: the tokenizer adds its special tokens, an empty context is the beginning-of-text or end-of-text token, and long
contexts are cut on the left. No chat template is applied. Importing it needs the package lm_eval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval import utils  # pyright: ignore[reportMissingImports]
from lm_eval.api.model import TemplateLM  # pyright: ignore[reportMissingImports]

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.model_delta import carried
from windtunnel.trainer.eval.greedy import greedy
from windtunnel.trainer.modules.export import open_tokenizer

LONGEST = 2048  # tokens, where neither the model nor the tokenizer names a length
MAX_GEN_TOKENS = 256  # of tasks that name none
MOST_LOGITS = 2**26  # of a batch, 256 MB
LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # lm-eval's names for one thing


class LmEvalModel(TemplateLM):
    """A loaded causal model with the tokenizer of its directory, for lm-eval."""

    backend = "causal"

    def __init__(self, path: Path, model: Any, batch_tokens: int) -> None:
        super().__init__()
        self.path, self.model, self._device = path, model, model.device
        self.tokenizer: Any = open_tokenizer(path)
        self.scorer = Scorer(model, batch_tokens)

    @property
    def max_length(self) -> int:
        return length_of(self.model, self.tokenizer)

    @property
    def eot_token_id(self) -> int:
        return _id(self.tokenizer.eos_token_id, self.path)

    @property
    def prefix_token_id(self) -> int:
        first = self.tokenizer.bos_token_id
        return self.eot_token_id if first is None else first

    @property
    def tokenizer_name(self) -> str:
        return str(self.path)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        begun = add_special_tokens is None and string.startswith(self.tokenizer.decode([self.prefix_token_id]))
        special = not begun and add_special_tokens is not False
        return self.tokenizer.encode(string, add_special_tokens=special)

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        pairs = [(context, continuation) for _, context, continuation in requests]
        return self.scorer.scores(pairs, self.max_length)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        sums = np.zeros(len(requests))
        pairs, owners = [], []
        for number, request in enumerate(requests):
            windows = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for window in map(utils.make_disjoint_window, windows):
                pairs.append(window)
                owners.append(number)
        np.add.at(sums, owners, [score for score, _ in self.scorer.scores(pairs, self.max_length)])
        return sums.tolist()

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        return [self._reply(*request.args) for request in requests]

    def _reply(self, context: str, kwargs: dict[str, Any]) -> str:
        until, limit = generation(kwargs)
        room = self.max_length - limit
        if room < 1:
            raise InputError(f"the task generates {limit} tokens, and the model has {self.max_length} positions")
        ids = self.tok_encode(context)[-room:]

        def text_of(reply: list[int]) -> str:
            return str(self.tokenizer.decode(reply, skip_special_tokens=True))

        def ended(reply: list[int]) -> bool:
            return any(stop in text_of(reply) for stop in until)

        (reply,) = greedy(self.model, [ids], limit, [self.eot_token_id], ended)
        text = text_of(reply)
        for stop in until:
            text = text.split(stop)[0]
        return text


class Scorer:
    """Log-likelihoods of continuations, in batches of similar length."""

    def __init__(self, model: Any, batch_tokens: int):
        self.model = model
        self.batch_tokens = max(1, min(batch_tokens, MOST_LOGITS // model.config.get_text_config().vocab_size))

    @torch.inference_mode()
    def scores(self, pairs: Sequence[tuple[list[int], list[int]]], longest: int) -> list[tuple[float, bool]]:
        """Return (log-probability, whether greedy decoding would give it) of each continuation after its context."""
        out: list[tuple[float, bool]] = [(0.0, True)] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda k: sum(map(len, pairs[k])))
        while order:
            width = min(sum(map(len, pairs[order[-1]])), longest + 1)
            batch = [order.pop() for _ in range(min(len(order), max(1, self.batch_tokens // width)))]
            for k, value in zip(batch, self._batch([pairs[k] for k in batch], longest), strict=True):
                out[k] = value
        return out

    def _batch(self, pairs: Sequence[tuple[list[int], list[int]]], longest: int) -> list[tuple[float, bool]]:
        streams = [[*context, *continuation][-(longest + 1) :] for context, continuation in pairs]
        if long := next((len(continuation) for _, continuation in pairs if len(continuation) > longest), None):
            raise InputError(f"an answer of {long} tokens is longer than the model's {longest} positions")
        ids = torch.zeros(len(pairs), max(map(len, streams)) - 1, dtype=torch.long)
        for row, stream in enumerate(streams):  # padding on the right needs no mask
            ids[row, : len(stream) - 1] = torch.tensor(stream[:-1])
        logits = self.model(input_ids=ids.to(self.model.device), use_cache=False).logits
        logits = logits[:, -ids.shape[1] :]  # without positions that a delta has before the text
        found = []
        for row, (stream, (_, continuation)) in enumerate(zip(streams, pairs, strict=True)):
            size, end = len(continuation), len(stream) - 1
            logps = logits[row, end - size : end].float().log_softmax(-1)
            wanted = torch.tensor(continuation, device=logps.device)
            values = logps.gather(1, wanted[:, None])
            found.append((float(values.double().sum()), bool((logps.argmax(-1) == wanted).all())))
        return found


def length_of(model: Any, tokenizer: Any) -> int:
    """Return the longest sequence in tokens, as lm-eval finds it: the model's positions, else the tokenizer's limit."""
    config, found = model.config.get_text_config(), carried(model)
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        if getattr(config, name, None):
            return int(getattr(config, name)) - (found.delta.added_positions if found else 0)
    most = getattr(tokenizer, "model_max_length", None)
    return int(most) if most and most < 10**9 else LONGEST


def generation(kwargs: dict[str, Any]) -> tuple[list[str], int]:
    """Return (texts at which a reply ends, its most tokens) of a task's settings. Raises InputError unless greedy."""
    if kwargs.get("do_sample", (kwargs.get("temperature") or 0) > 0):
        raise InputError("the task draws its replies (do_sample: true), and only greedy ones are scored: set it false")
    until = kwargs.get("until") or []
    limit = next((int(kwargs[name]) for name in LIMITS if kwargs.get(name)), MAX_GEN_TOKENS)
    return [text for text in ([until] if isinstance(until, str) else until) if text], limit


def _id(token: Any, path: Path) -> int:
    if token is None:
        raise InputError(f"{path}: the tokenizer has no end-of-text token")
    return int(token)
