"""Fine-tuning a classifier: a linear head on a pretrained model, which reads a label off the text (GPT-1, BERT)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label
from windtunnel.trainer.data.labelled import Frame, LabelEncoder, Labels
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.objectives._label_objective import LabelObjective
from windtunnel.trainer.objectives._objective import Setting

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Classifier(LabelObjective):
    """Cross-entropy over the labels of the training rows; every weight trains, unless there is a delta.

    On a causal model the head reads the end-of-text token behind the text (Radford et al. 2018), on BERT `[CLS]`
    through the pooler (Devlin et al. 2019). The exported model is a sequence classifier of transformers, whose
    tokenizer frames a text so.
    """

    examples: ClassVar = ({}, {"epochs": 2.0})

    def refuses(self, delta: Delta) -> str | None:
        if delta.shares_bins:
            return None
        return f"a head reads the body's states, and {label(delta)!r} works outside the body; use lora, or `prompted`"

    def adopt(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with a classification head in place of its language-model head."""
        from windtunnel.trainer.modules.sequence_head import head_name, with_sequence_head

        out = with_sequence_head(model, 2)  # as many outputs as labels when the rows are known
        if self.delta is not None and head_name(out) != "score":
            raise InputError(f"a delta does not train the new pooler of {type(out).__name__}: leave `delta` out")
        return out

    def frame(self, setting: Setting) -> Frame:
        tokenizer: Any = setting.tokenizer
        if tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None:
            return Frame([tokenizer.cls_token_id], [tokenizer.sep_token_id])
        return Frame([], [tokenizer.eos_token_id])

    def make_ready(self, setting: Setting, model: PreTrainedModel, labels: Labels, encoder: LabelEncoder) -> None:
        from windtunnel.trainer.modules.export import frame_texts
        from windtunnel.trainer.modules.sequence_head import choose_text_padding, resize

        resize(model, len(labels.names))
        super().make_ready(setting, model, labels, encoder)
        tokenizer: Any = setting.tokenizer
        frame = encoder.frame
        if not choose_text_padding(tokenizer, model, frame.behind[-1]):
            raise InputError(
                "the tokenizer has one special token, which ends texts and cannot pad them too: give it a padding token"
            )
        before, behind = (tokenizer.convert_ids_to_tokens(ids) for ids in (frame.before, frame.behind))
        frame_texts(tokenizer, before, behind)

    def label_logits(self, model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        from windtunnel.trainer.modules.sequence_head import sequence_logits

        return sequence_logits(model, tensors)
