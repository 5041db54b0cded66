"""Greedy generation from a model directory with transformers, in batches of similar length.

The steps of trainer.eval.answers and trainer.eval.task_scores use it to query a trained chat model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.chat import ChatEncoder, ChatError, Messages, prepare
from windtunnel.trainer.data.chat_batches import last_turns
from windtunnel.trainer.data.packing import micro_batches
from windtunnel.trainer.eval.greedy import greedy
from windtunnel.trainer.eval.likelihood import TextScorer
from windtunnel.trainer.eval.plain_replies import SPARE_TOKENS, PlainReplier
from windtunnel.trainer.losses.target_logps import sum_by_owner, target_log_probs
from windtunnel.trainer.models._model import load, positions_of
from windtunnel.trainer.modules.export import open_tokenizer
from windtunnel.trainer.tasks._evaluation import Pieces

Prompt = str | Messages


class Replier:
    """A model with its chat template: an Asker (windtunnel.trainer.tasks._evaluation).

    A prompt is the text of one user turn, or the turns up to one of the user.
    """

    chat = True

    def __init__(self, path: Path, batch_tokens: int, device: str = "cpu"):
        self.path = path
        self.tokenizer = open_tokenizer(path)
        self.model: Any = load(path, "causal").to(device).eval()  # pyright: ignore[reportArgumentType]
        prepare(self.tokenizer, self.model)
        self.encoder = ChatEncoder(self.tokenizer)
        self.batch_tokens = batch_tokens

    def refusal(self, prompt: Prompt, tokens: int, answer: str = "") -> str | None:
        """Return the reason code of a prompt that cannot get a reply of up to `tokens`, or None.

        `special_token`: prompt or answer contains a special token. `too_long`: prompt and reply exceed the positions.
        """
        try:
            *before, last = _turns(prompt)
            self.encoder.prompt_ids([*before, {**last, "content": last["content"] + answer}])
            size = len(self.encoder.prompt_ids([*before, last]))
        except ChatError:
            return "special_token"
        positions = positions_of(self.model)
        return "too_long" if positions is not None and size + tokens > positions else None

    def room(self, answers: Sequence[str]) -> int:
        """Return the largest number of tokens of a reply, given the correct answers."""
        return max((self.length(answer) for answer in answers), default=0) + SPARE_TOKENS

    def replies(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[str]:
        """Return the greedy reply to every prompt, limited by the correct answer's length. Raises ChatError."""
        return self._replies(prompts, [self.length(answer) + SPARE_TOKENS for answer in answers], 0)

    def free_replies(self, prompts: Sequence[Prompt], max_tokens: int) -> list[str]:
        """Return the greedy reply to every prompt, at most `max_tokens` long. Raises ChatError."""
        return self._replies(prompts, [max_tokens] * len(prompts), max_tokens)

    @torch.inference_mode()
    def answer_nats(self, prompts: Sequence[Prompt], answers: Sequence[str], ended: bool = True) -> np.ndarray:
        """Return the nats of every answer given its prompt; `ended`: with those of the token that ends the turn."""
        pairs = zip(prompts, answers, strict=True)
        conversations = [[*_turns(prompt), {"role": "assistant", "content": answer}] for prompt, answer in pairs]
        out = np.empty(len(conversations))
        for group, batch in last_turns(self.encoder, conversations, self.batch_tokens):
            values = target_log_probs(self.model, batch).double().cpu()
            if not ended:
                values *= _before_end(batch["labels"].tolist(), batch["owners"].tolist(), self.encoder.end_id)
            out[group] = -sum_by_owner(values, batch["owners"], len(group)).numpy()
        return out

    def pieces(self, contexts: Sequence[Sequence[str]], texts: Sequence[Sequence[str]]) -> list[Pieces]:
        """Return the scores of the pieces of each text after its context, both without the chat template."""
        return TextScorer(self.path, self.model, self.batch_tokens).pieces(contexts, texts)

    def harness_model(self) -> Any:
        """Return the model behind the interface `LM` of lm-eval, which is given prompts without the chat template."""
        from windtunnel.trainer.eval.lm_eval_model import LmEvalModel

        return LmEvalModel(self.path, self.model, self.batch_tokens)

    def length(self, answer: str) -> int:
        """Return the number of tokens of an answer."""
        return len(self.tokenizer.encode(answer, add_special_tokens=False))

    @torch.inference_mode()
    def _replies(self, prompts: Sequence[Prompt], limits: Sequence[int], reserve: int) -> list[str]:
        """Return the replies, each cut to its limit in tokens; `reserve` is added to prompt lengths when batching."""
        ids = [self.encoder.prompt_ids(_turns(prompt)) for prompt in prompts]
        out = [""] * len(prompts)
        for group in micro_batches([len(prompt) + reserve for prompt in ids], self.batch_tokens):
            replies = self._generate([ids[k] for k in group], max(limits[k] for k in group))
            for k, reply in zip(group, replies, strict=True):
                out[k] = self.encoder.decode(reply[: limits[k]])
        return out

    def _generate(self, prompts: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        """Return the new token ids of each prompt, up to the first end token."""
        found = self.model.generation_config.eos_token_id
        ends = found if isinstance(found, list) else [] if found is None else [found]
        return greedy(self.model, prompts, limit, ends)


def _before_end(labels: Sequence[int], owners: Sequence[int], end: int | None) -> torch.Tensor:
    """Return 1 for targets before the last end token of their sequence, 0 from there on; 1 where it has none."""
    last = {owner: place for place, owner in enumerate(owners) if labels[place] == end}
    kept = [place < last.get(owner, len(owners)) for place, owner in enumerate(owners)]
    return torch.tensor(kept, dtype=torch.float64)


def _turns(prompt: Prompt) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(turn) for turn in prompt]


def open_asker(path: Path, batch_tokens: int, device: str = "cpu") -> Replier | PlainReplier:
    """Return a model as an Asker: by its chat template where the tokenizer has one, else as a plain language model.

    Raises InputError for a directory that holds no model which can be read safely.
    """
    try:
        kind = Replier if open_tokenizer(path).chat_template else PlainReplier
        return kind(path, batch_tokens, device)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).strip().splitlines()[:1])
        raise InputError(f"{path} is not a readable causal language model: {reason}") from error
