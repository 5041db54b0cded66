"""Language identification by a fastText model (lid.176 by default) and the script that the letters are of."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
import pyarrow as pa
from pydantic import Field, field_validator

from windtunnel.pipelines.features.script_names import script_class
from windtunnel.pipelines.filters._rule import Example, Reason, Rule, below, when
from windtunnel.pipelines.samples.sample_set import model_path
from windtunnel.schemas.errors import InputError

if TYPE_CHECKING:
    from fasttext.FastText import _FastText

_ENGLISH = "The weather was fine this morning, and the children walked to school along the river with their teacher."
_FRENCH = "Il faisait beau ce matin, et les enfants marchaient vers l'école le long de la rivière avec leur maître."


class Language(Rule):
    """Keep documents whose most likely language is one of `keep`, with a probability above `threshold`.

    model: `lid.176`, or the path of any fastText classifier; labels lose their `__label__`. Newlines become spaces
    before the prediction and a score of just `threshold` is not enough, as in datatrove's LanguageFilter; that one also
    keeps a second language that passes, which can be below a threshold of 0.5 only. keep null keeps every language
    that is sure enough. scripts: Unicode scripts, such as Latin or [Han, Hiragana, Katakana], that at least
    `min_script_share` of the letters must be of; a text without letters passes. Columns: `lang`, `lang_score` (0 to 1)
    and, with scripts, `script_share` (0 to 1, null without letters).
    """

    version: ClassVar[int] = 2
    primary: ClassVar[str | None] = "keep"
    keep: tuple[str, ...] | None = ("en",)
    threshold: float = 0.65
    model: str = "lid.176"
    scripts: tuple[str, ...] | None = None
    min_script_share: float = Field(0.5, ge=0, le=1)

    keeps: ClassVar[tuple[Example, ...]] = (
        Example(_ENGLISH),
        Example(_FRENCH, params={"keep": ["fr"]}),
        Example(_ENGLISH, params={"scripts": "Latin"}),
        Example("1 + 1 = 2", params={"keep": None, "threshold": 0, "scripts": ["Latin"]}),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example(_FRENCH, "other_language"),
        Example("", "unsure"),
        Example(_ENGLISH, "unsure", params={"threshold": 1.1}),
        Example(_ENGLISH, "other_script", params={"scripts": ["Cyrillic", "Greek"]}),
    )

    @field_validator("keep", "scripts", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("scripts")
    @classmethod
    def _known(cls, scripts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in scripts or ():
            script_class(name)
        return scripts

    def reads(self) -> list[Path]:
        return [] if self.model == "lid.176" else [Path(self.model)]

    def measure_config(self) -> dict[str, Any]:
        return {"model": self.model, "scripts": self.scripts} if self.scripts else {"model": self.model}

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        texts = [(text or "").replace("\n", " ") for text in batch.column("text").to_pylist()]
        labels, scores = _model(self.model).predict(texts) if texts else ([], [])
        measured = pl.DataFrame(
            {
                "lang": [label[0].removeprefix("__label__") if len(label) else None for label in labels],
                "lang_score": [float(score[0]) if len(score) else 0.0 for score in scores],
            },
            schema={"lang": pl.String, "lang_score": pl.Float64},
        )
        if not self.scripts:
            return measured
        from windtunnel.pipelines.features.scripts import script_shares

        shares = pl.Series("script_share", script_shares(batch.column("text"), self.scripts)).fill_nan(None)
        return measured.with_columns(shares)

    def reasons(self) -> list[Reason]:
        score = pl.col("lang_score")
        other = [] if self.keep is None else when("other_language", ~pl.col("lang").is_in(self.keep), pl.col("lang"))
        # an empty text has no label at all: it is unsure, not of another language
        unsure = Reason("unsure", score <= self.threshold, score, self.threshold, "below")
        script = below("other_script", pl.col("script_share"), self.min_script_share) if self.scripts else []
        return [*other, unsure, *script]


@cache
def _model(name: str) -> _FastText:
    from fasttext.FastText import _FastText

    path = model_path(name) if name == "lid.176" else Path(name)
    if not path.is_file():
        raise InputError(f"no fastText model at {path}: give the path of one, or 'lid.176'")
    return _FastText(str(path))
