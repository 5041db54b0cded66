"""What distillations share: a teacher, which is a frozen model with the same tokenizer, beside the student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.objectives._objective import Data, Loss, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEACHER = "teacher"  # attribute of the student under which the teacher is at hand


class Taught:
    """The part of an objective that has a `teacher`, one of the recipe's models with the student's tokenizer.

    It has no fields, which would take the place of those of the objective's other base.
    """

    teacher: str

    def models(self) -> tuple[str, ...]:
        return (self.teacher,)

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        """Return the stage's data, with the teacher."""
        data: Data = super().open(setting, model)  # type: ignore[misc]
        data.further = teacher_of(self.teacher, setting, model)
        data.read_further = relative_size(data.further, model)
        return data

    def beside(self, model: PreTrainedModel, data: Data) -> None:
        """Put the teacher beside the student; it does not train."""
        setattr(model, TEACHER, data.further)

    def alone(self, model: PreTrainedModel) -> None:
        """Take the teacher away."""
        if hasattr(model, TEACHER):
            delattr(model, TEACHER)


def teacher_of(name: str, setting: Setting, model: PreTrainedModel) -> PreTrainedModel:
    """Return one of the recipe's models as a frozen teacher. Raises InputError for one with other tokens."""
    from windtunnel.trainer.models._model import load
    from windtunnel.trainer.modules.export import open_tokenizer

    path = setting.models[name]
    if open_tokenizer(path).get_vocab() != setting.tokenizer.get_vocab():
        raise InputError(
            f"the teacher {name!r} has another tokenizer than the student, so they speak of other tokens: "
            "distil into a model of the same family, or train on the teacher's answers by `sft`"
        )
    return load(path, "causal").to(model.device).requires_grad_(False).eval()  # type: ignore[arg-type]


def relative_size(teacher: Any, model: Any) -> float:
    """Return the parameters of the teacher, in those of the student."""
    return sum(p.numel() for p in teacher.parameters()) / sum(p.numel() for p in model.parameters())


def distillation_loss(model: Any, batch: Batch, beta: float, temperature: float) -> Loss:
    """Return the summed divergence from the teacher over the micro-batch's target tokens."""
    import torch

    from windtunnel.trainer.losses.distillation import divergence
    from windtunnel.trainer.losses.target_logps import target_logits

    with torch.no_grad():
        taught = target_logits(getattr(model, TEACHER), batch.tensors)
    logits = target_logits(model, batch.tensors)
    width = min(logits.shape[-1], taught.shape[-1])  # models may have rows beyond the tokenizer's tokens
    losses = divergence(logits[:, :width], taught[:, :width], beta, temperature)
    agree = (logits.argmax(-1) == taught.argmax(-1)).sum()
    return Loss(losses.sum(), float(len(losses)), {"same_token": agree})
