"""A pretrained model: weights and tokenizer come from the run's `start` input."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.schemas.errors import RecipeError
from windtunnel.trainer.models._model import Model

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Pretrained(Model):
    """`context` is the maximum length of a training sequence in tokens; it must not exceed the model's positions."""

    from_files: ClassVar[bool] = True

    context: int = Field(1024, ge=8)

    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        """Raise RecipeError: a pretrained model is not built from a seed."""
        raise RecipeError("`pretrained` needs a model to start from: name one of `models:` in `train: {start: NAME}`")
