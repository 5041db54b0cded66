"""A reward model in a directory scores each answer separately; the better one has the higher reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.generators.judges._judge import Example, Judge, Pair, Verdict
from windtunnel.generators.text.quoted import defused
from windtunnel.schemas import chat_template
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.model_delta import with_delta
from windtunnel.schemas.special_tokens import special_tokens
from windtunnel.schemas.weight_files import check_weights

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DETAILS = {
    "context_too_long": "longer than the reward model's context",
    "template_over_limit": "the chat template takes too much time or memory, or gives too much text",
}


class Reward(Judge):
    """Reads a sequence-classification model of one label (safetensors); p(a better) = sigmoid of the difference.

    This is the Bradley-Terry model of their training. An answer longer than the model's context has the error
    `context_too_long`, one on which the chat template goes over its limits `template_over_limit`. `reward:DIR`.

    The reward is read at the token that ends the answer's turn, as in windtunnel.trainer. Models trained on the whole
    output of the chat template, including white space after that token, need `read_at: template`.
    """

    version: ClassVar[int] = 2
    primary = "directory"
    examples = (Example(Pair("q", "ends in z", "ends in a"), "a", {"directory": "tiny-reward"}, needs="tiny-reward"),)
    directory: str
    batch: int = Field(default=8, gt=0)
    read_at: Literal["turn", "template"] = "turn"

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return verdicts that are equal in both orders."""
        scores = self.scores([(p.prompt, text) for p in pairs for text in (p.response_a, p.response_b)])
        return [_verdict(a, b) for a, b in zip(scores[::2], scores[1::2], strict=True)]

    def scores(self, answers: Sequence[tuple[str, str]]) -> list[float | str]:
        """Return a reward per (prompt, answer), or the error of an answer that has none."""
        import torch

        model, tokenizer = self._load()
        longest = getattr(model.config, "max_position_embeddings", None) or 10**9
        tokens = special_tokens(Path(self.directory))
        rows = [_ids(tokenizer, tokens, self.read_at, prompt, answer) for prompt, answer in answers]
        fit = sorted((k for k, row in enumerate(rows) if row and len(row) <= longest), key=lambda k: len(rows[k]))
        out: list[float | str] = ["context_too_long" if row else "template_over_limit" for row in rows]
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
        check_weights(path)
        safe: Any = {"local_files_only": True, "trust_remote_code": False}
        model = AutoModelForSequenceClassification.from_pretrained(
            str(path), dtype=torch.float32, use_safetensors=True, **safe
        )
        tokenizer = AutoTokenizer.from_pretrained(str(path), **safe)
        if model.config.num_labels != 1:
            raise InputError(f"{path} has {model.config.num_labels} labels; a reward model has one")
        if tokenizer.pad_token_id is None or model.config.pad_token_id is None:
            raise InputError(f"{path} has no padding token, which batches need")
        return with_delta(model, path).eval(), tokenizer


def _ids(tokenizer: Any, tokens: Sequence[str], read_at: str, prompt: str, answer: str) -> list[int]:
    """Return the token ids of the conversation by the chat template, none over its limits, or of two paragraphs."""
    prompt, answer = defused(prompt, tokens), defused(answer, tokens)
    if not tokenizer.chat_template:
        return list(tokenizer(f"{prompt}\n\n{answer}").input_ids)
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    try:
        (text,) = chat_template.prefixes(tokenizer, tokenizer.get_chat_template(), messages, [(len(messages), False)])
    except chat_template.TemplateOverLimit:
        return []
    except chat_template.TemplateRefused as error:
        raise InputError(f"the chat template of {tokenizer.name_or_path} cannot render an answer: {error}") from error
    if read_at == "turn":
        special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        ends = [text.rfind(token) + len(token) for token in special if token in text]
        text = text[: max(ends)] if ends else text
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _verdict(a: float | str, b: float | str) -> Verdict:
    for error in (a, b):
        if isinstance(error, str):
            return Verdict(error=error, detail=_DETAILS[error])
    assert not isinstance(a, str) and not isinstance(b, str)
    p = 1 / (1 + math.exp(-max(-700.0, min(700.0, a - b))))
    return Verdict(p, p)
