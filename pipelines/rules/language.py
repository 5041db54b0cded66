"""Language identification by a fastText model (lid.176 by default), with the label and its score as columns."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
import pyarrow as pa
from pydantic import field_validator

from pipelines.measuring.rule import Example, Reason, Rule, below, when
from schemas.errors import InputError

if TYPE_CHECKING:
    from fasttext.FastText import _FastText

_ENGLISH = "The weather was fine this morning, and the children walked to school along the river with their teacher."
_FRENCH = "Il faisait beau ce matin, et les enfants marchaient vers l'école le long de la rivière avec leur maître."


class Language(Rule):
    """Keep documents whose most likely language is one of `keep` with at least `threshold` probability.

    model: `lid.176`, or the path of any fastText classifier; labels lose their `__label__`. Newlines become spaces
    before the prediction, as in datatrove's LanguageFilter. keep null keeps every language that is sure enough.
    Columns: `lang`, `lang_score` (0 to 1).
    """

    primary: ClassVar[str | None] = "keep"
    keep: tuple[str, ...] | None = ("en",)
    threshold: float = 0.65
    model: str = "lid.176"

    keeps: ClassVar[tuple[Example, ...]] = (Example(_ENGLISH), Example(_FRENCH, params={"keep": ["fr"]}))
    drops: ClassVar[tuple[Example, ...]] = (
        Example(_FRENCH, "other_language"),
        Example("", "unsure"),
        Example(_ENGLISH, "unsure", params={"threshold": 1.1}),
    )

    @field_validator("keep", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def reads(self) -> list[Path]:
        return [] if self.model == "lid.176" else [Path(self.model)]

    def measure_config(self) -> dict[str, Any]:
        return {"model": self.model}

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        texts = [(text or "").replace("\n", " ") for text in batch.column("text").to_pylist()]
        labels, scores = _model(self.model).predict(texts) if texts else ([], [])
        return pl.DataFrame(
            {
                "lang": [found[0].removeprefix("__label__") if len(found) else None for found in labels],
                "lang_score": [float(score[0]) if len(score) else 0.0 for score in scores],
            },
            schema={"lang": pl.String, "lang_score": pl.Float64},
        )

    def reasons(self) -> list[Reason]:
        score = pl.col("lang_score")
        other = [] if self.keep is None else when("other_language", ~pl.col("lang").is_in(self.keep), pl.col("lang"))
        # an empty text has no label at all: it is unsure, not of another language
        return [*other, *below("unsure", score, self.threshold)]


@cache
def _model(name: str) -> _FastText:
    from fasttext.FastText import _FastText

    if name == "lid.176":
        from pipelines.fetching.samples import model_path

        path = model_path(name)
    else:
        path = Path(name)
    if not path.is_file():
        raise InputError(f"no fastText model at {path}: give the path of one, or 'lid.176'")
    return _FastText(str(path))
