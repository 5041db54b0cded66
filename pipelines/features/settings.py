"""Settings of the shared measurement pass."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from windtunnel.pipelines.features.kernels.columns import STOP_WORDS


class Settings(BaseModel):
    """Settings that affect the shared columns: the word rule, the stop words and C4's line rules.

    words: `fast` splits words by English rules in compiled code, with a segmenter for scripts without spaces; `exact`
    uses the tokens of spaCy's blank pipeline for `language`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    words: Literal["fast", "exact"] = "fast"
    language: str = "en"
    stop_words: tuple[str, ...] = STOP_WORDS
    short_line_chars: int = 30
    c4_terminal_punctuation: bool = True
    c4_citations: bool = True
    c4_min_words_per_line: int = 3
    c4_max_word_chars: int = 1000
    c4_javascript: bool = True
    c4_policy: bool = True
    c4_lorem_ipsum: bool = True
    c4_curly_bracket: bool = True
    c4_unspaced_words: bool = True
