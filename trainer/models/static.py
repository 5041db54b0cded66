"""Static vectors of words with character n-grams: what the objective `skipgram` fits (fastText)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from windtunnel.schemas.errors import RecipeError
from windtunnel.trainer.models._model import Model, ModelKind

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Static(Model):
    """fastText sizes; the words are those of the text, so that there is no model before it is read."""

    kind: ClassVar[ModelKind] = "static"

    width: int = Field(96, ge=4)
    shortest: int = Field(3, ge=1)  # characters of an n-gram
    longest: int = Field(6, ge=0)  # 0: no n-grams, as word2vec
    buckets: int = Field(50_000, ge=1)  # rows that n-grams share by hash; fastText's own 2,000,000 suit large corpora
    fewest: int = Field(5, ge=1)  # occurrences of a word that gets a vector of its own

    @model_validator(mode="after")
    def _check_ngrams(self) -> Self:
        if self.longest and self.longest < self.shortest:
            raise ValueError(f"n-grams of {self.shortest} to {self.longest} characters: `longest` 0 leaves them out")
        return self

    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        """Raise RecipeError: vectors are made by the objective alone."""
        raise RecipeError("`static` vectors are made by the objective `skipgram` alone")
