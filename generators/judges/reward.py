"""A reward model in a directory scores each answer separately; the better one has the higher reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from windtunnel.generators.judges._judge import Example, Judge, Pair, Verdict
from windtunnel.generators.text.quoted import defused
from windtunnel.schemas.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Reward(Judge):
    """Reads a sequence-classification model of one label (safetensors); p(a better) = sigmoid of the difference.

    This is the Bradley-Terry model of their training. An answer longer than the model's context has the error
    `context_too_long`. `reward:DIR`.

    The reward is read at the token that ends the answer's turn, as in windtunnel.trainer. Models trained on the whole
    output of the chat template, including white space after that token, need `read_at: template`.
    """

    primary = "directory"
    examples = (Example(Pair("q", "ends in z", "ends in a"), "a", {"directory": "tiny-reward"}, needs="tiny-reward"),)
    directory: str
    batch: int = Field(default=8, gt=0)
    read_at: Literal["turn", "template"] = "turn"

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return verdicts that are equal in both orders."""
        scores = self.scores([(p.prompt, text) for p in pairs for text in (p.response_a, p.response_b)])
        return [_verdict(a, b) for a, b in zip(scores[::2], scores[1::2], strict=True)]

    def scores(self, answers: Sequence[tuple[str, str]]) -> list[float | None]:
        """Return a reward per (prompt, answer), None where they are longer than the model's context."""
        import torch

        model, tokenizer = self._load()
        longest = getattr(model.config, "max_position_embeddings", None) or 10**9
        rows = [_ids(tokenizer, self.read_at, prompt, answer) for prompt, answer in answers]
        fit = sorted((k for k, row in enumerate(rows) if len(row) <= longest), key=lambda k: len(rows[k]))
        out: list[float | None] = [None] * len(rows)
        with torch.no_grad():
            for start in range(0, len(fit), self.batch):
                part = fit[start : start + self.batch]
                batch = tokenizer.pad({"input_ids": [rows[k] for k in part]}, padding_side="right", return_tensors="pt")
                rewards = model(**batch).logits[:, 0].float().tolist()
                for k, reward in zip(part, rewards, strict=True):
                    out[k] = reward
        return out

    def _load(self) -> tuple[Any, PreTrainedTokenizerBase]:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        path = Path(self.directory)
        if not (path / "config.json").is_file():
            raise InputError(f"{path} holds no reward model: there is no config.json")
        safe: Any = {"local_files_only": True, "trust_remote_code": False}
        model = AutoModelForSequenceClassification.from_pretrained(
            str(path), dtype=torch.float32, use_safetensors=True, **safe
        )
        tokenizer = AutoTokenizer.from_pretrained(str(path), **safe)
        if model.config.num_labels != 1:
            raise InputError(f"{path} has {model.config.num_labels} labels; a reward model has one")
        if tokenizer.pad_token_id is None or model.config.pad_token_id is None:
            raise InputError(f"{path} has no padding token, which batches need")
        return model.eval(), tokenizer


def _ids(tokenizer: Any, read_at: str, prompt: str, answer: str) -> list[int]:
    """Return the token ids of the conversation by the chat template, or else of two paragraphs."""
    prompt, answer = defused(prompt), defused(answer)
    if not tokenizer.chat_template:
        return list(tokenizer(f"{prompt}\n\n{answer}").input_ids)
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    if read_at == "turn":
        special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        ends = [text.rfind(token) + len(token) for token in special if token in text]
        text = text[: max(ends)] if ends else text
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _verdict(a: float | None, b: float | None) -> Verdict:
    if a is None or b is None:
        return Verdict(error="context_too_long", detail="longer than the reward model's context")
    p = 1 / (1 + math.exp(-max(-700.0, min(700.0, a - b))))
    return Verdict(p, p)
