"""The parameters under a corpus's `decontaminate:`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

HELD_OUT = "held_out"  # the name of the recipe's own held-out set among the evaluation sets


class DecontaminationSettings(BaseModel):
    """How evaluation sets are removed from a corpus (Brown et al. 2020, appendix C; datatrove drops whole documents).

    ngram: length of a match in words. shortest: items of at least this many words, but fewer than `ngram`, are searched
    for as a whole. action: `drop` the document, or `cut` the match with `margin` characters on both sides; remaining
    pieces shorter than `min_piece` characters are cut too, and a document in more than `max_pieces` pieces is dropped.
    common: n-grams in more documents than this are ignored as common phrases (GPT-3: 10); by default none are.
    min_matches: number of distinct n-grams that a contaminated document shares at least.
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
