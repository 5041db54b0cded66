"""Stop words of other languages: counted as datatrove counts them, each once, in the case in which they are written."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from windtunnel.pipelines.features.settings import Settings
from windtunnel.pipelines.features.shared import features
from windtunnel.pipelines.filters._chain import chain, judge
from windtunnel.schemas.errors import RecipeError

GERMAN = ("und", "der", "die", "während", "selbstverständlich", "über")


def test_the_stop_words_of_a_recipe_decide_as_in_datatrove() -> None:
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherQualityFilter

    draw = random.Random(3)
    words = [*GERMAN, "Und", "Haus", "the", "of", "Wald,", "undichte", "selbstverständliche"]
    texts = [" ".join(draw.choice(words) for _ in range(draw.randrange(1, 9))) for _ in range(400)]
    peer = GopherQualityFilter(*[None] * 8, min_stop_words=3, stop_words=list(GERMAN))
    theirs = [peer.filter(Document(text, "0")) is True for text in texts]
    off = dict.fromkeys(
        ("min_words", "max_words", "min_mean_word_chars", "max_mean_word_chars", "max_symbol_word_ratio",
         "max_bullet_line_share", "max_ellipsis_line_share", "min_alpha_word_share")
    )  # fmt: skip
    rule = {"gopher_quality": {**off, "min_stop_words": 3, "stop_words": list(GERMAN)}}
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    for words_by in ("fast", "exact"):
        assert judge(batch, chain([rule], words_by)).reasons.is_null().to_list() == theirs
    assert 50 < sum(theirs) < 350


def test_as_many_stop_words_as_there_may_be_are_told_apart() -> None:
    words = tuple(f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(62))
    texts = pa.array([" ".join(words), " ".join(words[60:]), words[61], "the of", ""], pa.large_string())
    assert features(texts, Settings(stop_words=words))["stop_words"].to_list() == [62, 2, 1, 0, 0]
    assert features(texts)["stop_words"].to_list() == [0, 0, 0, 2, 0]


@pytest.mark.parametrize("words", [[], [f"w{n}" for n in range(63)]])
def test_no_stop_words_or_too_many_are_refused(words: list[str]) -> None:
    with pytest.raises(RecipeError, match="stop_words"):
        chain([{"gopher_quality": {"stop_words": words}}])
