"""What a recipe says of decontamination: the words under `decontaminate:`, `against:` apart."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

HELD_OUT = "held_out"  # the name of the recipe's own held-out set among the evaluation sets


class DecontaminationWords(BaseModel):
    """How a corpus is kept clear of evaluation sets (Brown et al. 2020, appendix C; datatrove drops whole documents).

    ngram: words that must agree in a row. shortest: items of fewer words than `ngram` are searched for whole down to
    this many. action: `drop` the document, or `cut` the place with `margin` characters on both sides; what is left of a
    document in pieces shorter than `min_piece` goes too, and a document in more than `max_pieces` is dropped.
    common: n-grams in more documents than this are taken for common phrases and ignored (GPT-3 took 10); by default
    none are. min_matches: distinct n-grams that a document must share before it counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    ngram: int = Field(13, ge=2, le=100)
    shortest: int = Field(8, ge=1)
    action: Literal["drop", "cut"] = "drop"
    margin: int = Field(200, ge=0)
    min_piece: int = Field(200, ge=0)
    max_pieces: int = Field(10, ge=1)
    common: int | None = Field(None, ge=1)
    min_matches: int = Field(1, ge=1)
