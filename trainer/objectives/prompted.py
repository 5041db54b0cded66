"""Prompt-based fine-tuning: the model fills a slot of a template, and words stand for labels (PET, LM-BFF, WARP)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.data.labelled import Frame, LabelEncoder, Labels
from windtunnel.trainer.models._model import kind_of
from windtunnel.trainer.objectives._label_objective import LabelObjective
from windtunnel.trainer.objectives._objective import Setting

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TEXT, SLOT = "{text}", "{slot}"
WORDS = {  # of the labels that `windtunnel check` has, whose tokens are single bytes
    f"{name}.": str(number) for number, name in enumerate(("one", "two", "three", "five", "six", "seven"), start=1)
}


class Prompted(LabelObjective):
    """Cross-entropy over the labels, from what the language-model head says at the slot of a template.

    The slot is `[MASK]` for BERT (Schick and Schuetze 2021); for a causal model it ends the template, and the next
    token is read. `manual`: a label's logit is that of the first token of its word, by default of the label itself
    (Gao et al. 2021). `soft`: a label has an embedding of its own, which begins as the mean of those of its word's
    tokens and trains (WARP, Hambardzumyan et al. 2021); with `delta: prompt` that and the prompt are all that trains of
    a causal model.
    """

    examples: ClassVar = (
        {"template": "{text}\nAnswer:{slot}", "words": WORDS},
        {"verbalizer": "soft"},
        {"verbalizer": "soft", "delta": {"prompt": {"length": 3}}},
    )

    template: str = "{text}\nAnswer: {slot}"
    words: dict[str, str] = Field(default_factory=dict)  # label -> word; others stand for themselves
    verbalizer: Literal["manual", "soft"] = "manual"

    @model_validator(mode="after")
    def _check_template(self) -> Self:
        if any(self.template.count(part) != 1 for part in (TEXT, SLOT)):
            raise ValueError(f"a template has {TEXT} and {SLOT} once each, such as {TEXT} It is {SLOT}.")
        if self.template.index(TEXT) > self.template.index(SLOT):
            raise ValueError(f"the slot stands behind the text: {TEXT} ... {SLOT}")
        return self

    def frame(self, setting: Setting) -> Frame:
        tokenizer: Any = setting.tokenizer
        encoder = LabelEncoder(tokenizer, Frame([], []))
        opening, rest = self.template.split(TEXT)
        middle, closing = rest.split(SLOT)
        before, between, behind = (encoder.ids(part) for part in (opening, middle.rstrip(" "), closing))
        if tokenizer.mask_token_id is not None:
            ends = [[k] if k is not None else [] for k in (tokenizer.cls_token_id, tokenizer.sep_token_id)]
            return Frame([*ends[0], *before], [*between, tokenizer.mask_token_id, *behind, *ends[1]])
        if closing.strip():
            raise InputError(f"a causal model reads the slot from what stands before it: end the template with {SLOT}")
        return Frame([tokenizer.eos_token_id, *before], between)

    def make_ready(self, setting: Setting, model: PreTrainedModel, labels: Labels, encoder: LabelEncoder) -> None:
        import torch
        from torch import nn

        super().make_ready(setting, model, labels, encoder)
        tokens = self._tokens(labels, encoder)
        mask: Any = setting.tokenizer.mask_token_id
        behind = encoder.frame.behind
        back = len(behind) - behind.index(mask) if mask is not None else 1  # of the slot from the end
        kept = {"template": self.template, "kind": self.verbalizer, "tokens": tokens, "back": back}
        model.config.verbalizer = kept  # what reads the exported model needs it
        if self.verbalizer == "soft":
            matrix = torch.stack([_matrix(model)[word].mean(0) for word in self._words(labels, encoder)]).detach()
            model.score = nn.Linear(matrix.shape[1], len(tokens), bias=False, dtype=model.dtype, device=model.device)
            with torch.no_grad():
                model.score.weight.copy_(matrix)

    def label_logits(self, model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        whole: Any = model
        plain = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
        states = _slot_states(model, plain, tensors)
        if self.verbalizer == "soft":
            return plain.score(states).float()
        return (states @ _matrix(plain)[plain.config.verbalizer["tokens"]].T).float()

    def _words(self, labels: Labels, encoder: LabelEncoder) -> list[list[int]]:
        """Return the tokens of each label's word."""
        space = " " if self.template.split(SLOT)[0].endswith(" ") else ""
        return [encoder.ids(space + self.words.get(name, name)) for name in labels.names]

    def _tokens(self, labels: Labels, encoder: LabelEncoder) -> list[int]:
        """Return the token of each label's word. Raises InputError for words that begin with the same token."""
        if unknown := sorted(set(self.words) - set(labels.names)):
            raise InputError(
                f"`words` names {one_line(unknown[0], 40)!r}, and the labels are "
                f"{', '.join(one_line(name, 30) for name in labels.names[:12])}"
            )
        words = [self.words.get(name, name) for name in labels.names]
        tokens = [ids[0] for ids in self._words(labels, encoder)]
        for number, token in enumerate(tokens):
            if (first := tokens.index(token)) != number and self.verbalizer == "manual":
                raise InputError(
                    f"the words {words[first]!r} and {words[number]!r} begin with the same token, so the slot cannot "
                    "tell their labels apart: give other `words: {LABEL: WORD}`, or `verbalizer: soft`"
                )
        return tokens


def _slot_states(model: Any, plain: Any, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return what the output matrix is applied to at the slot, [rows, width]; `plain` is the model without its delta.

    Padding is on the right. BERT's states have a one as their last column, which meets the head's bias.
    """
    import torch

    from windtunnel.trainer.modules.heads import body, masked_head
    from windtunnel.trainer.modules.sequence_head import last_states

    ids, attended = tensors["input_ids"].to(model.device), tensors["attended"].to(model.device)
    if kind_of(plain) != "masked":
        return last_states(model, ids, attended)
    hidden = body(model)(input_ids=ids, attention_mask=attended.long()).last_hidden_state
    slots = attended.sum(1) - plain.config.verbalizer["back"]
    return masked_head(plain, hidden[torch.arange(len(ids), device=ids.device), slots])[0]


def _matrix(plain: Any) -> torch.Tensor:
    """Return the output matrix [vocabulary, width], of BERT [vocabulary, width + 1] with the head's bias."""
    from windtunnel.trainer.modules.heads import masked_head, output_weight

    if kind_of(plain) != "masked":
        return output_weight(plain)
    return masked_head(plain, plain.get_output_embeddings().weight[:1])[1]
