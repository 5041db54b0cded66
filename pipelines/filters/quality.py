"""Quality by a fastText classifier, as DCLM: a document's probability of being like the positive examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pyarrow as pa
from pydantic import Field, model_validator

from windtunnel.pipelines.filters._rule import Example, Reason, Rule, below, when
from windtunnel.pipelines.scorers.fasttext_model import SAMPLE, opened, path_of, probabilities
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError

_ENGLISH = {"path": SAMPLE, "label": "en", "threshold": 0.5}  # any classifier will do to show what the rule does
_WEATHER = "The weather was fine this morning, and the children walked to school along the river with their teacher."


class Quality(Rule):
    """Keep documents that a classifier likes: from `threshold` on, or the `top` share of all that are measured.

    The model lies at `path`, or is trained by the recipe on a `positive` and a `negative` corpus (see
    `pipelines.scorers.train_quality`). `label` is the good class. The whole document is scored as one line, newlines
    as spaces (datatrove's filter joins the words instead, unless told otherwise). `top` counts every document that was
    kept before this list of rules and keeps at least that share: equal scores go together, to within 0.0005 logits. A
    document without a word that the model knows goes as `unscored`. Column: `quality`, 0 to 1.
    Source: Li et al. 2024 (DCLM), top 0.1, which was a threshold of 0.018112 there.
    """

    primary: ClassVar[str | None] = "path"
    path: str | None = None
    positive: str | None = None
    negative: str | None = None
    label: str = "positive"
    threshold: float | None = Field(None, ge=0, le=1)
    top: float | None = Field(None, gt=0, le=1)
    training: dict[str, Any] = {}  # noqa: RUF012 (pydantic copies it) - fields of windtunnel.pipelines.scorers.train_quality.TrainQuality

    keeps: ClassVar[tuple[Example, ...]] = (Example(_WEATHER, params=_ENGLISH),)
    drops: ClassVar[tuple[Example, ...]] = (
        Example(_WEATHER, "low", params={**_ENGLISH, "label": "fr"}),
        Example("Il faisait beau ce matin, et les enfants marchaient vers l'école.", "low", params=_ENGLISH),
    )

    @model_validator(mode="after")
    def _one_way(self) -> Quality:
        trains = self.positive is not None and self.negative is not None
        if (self.path is not None) == trains or (self.positive is None) != (self.negative is None):
            raise ValueError("quality has either `path:` (a model) or `positive:` and `negative:` (two corpora)")
        if (self.threshold is None) == (self.top is None):
            raise ValueError("quality has either `threshold:` (a probability) or `top:` (a share of the documents)")
        if self.training and not trains:
            raise ValueError("`training:` goes with `positive:` and `negative:`")
        return self

    @property
    def corpora(self) -> dict[str, str]:
        """Corpora that a model is trained on, by role; none when it is given."""
        named = {"positive": self.positive, "negative": self.negative}
        return {role: name for role, name in named.items() if name is not None}

    def reads(self) -> list[Path]:
        return [] if self.path in (None, SAMPLE) else [Path(str(self.path))]

    def measure_config(self) -> dict[str, Any]:
        # a threshold of its own lets the measurement's rule be built; it decides nothing there
        kept = self.model_dump(mode="json", include={"path", "positive", "negative", "label", "training"})
        return {**kept, "threshold": 0.0}

    def bound(self, inputs: Mapping[str, Artifact]) -> Quality:
        if not self.corpora:
            return self
        if "quality" not in inputs:
            raise InputError("quality with `positive:` and `negative:` needs the model that the recipe trains on them")
        model = inputs["quality"].path / "model.bin"
        return Quality(path=str(model), label=self.label, threshold=self.threshold, top=self.top)

    def scores(self) -> tuple[str, ...]:
        return ("quality",)

    def cuts(self) -> dict[str, tuple[str, float]]:
        return {} if self.top is None else {"quality_cut": ("quality", self.top)}

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        texts = pl.Series("text", batch.column("text").cast(pa.large_string()))
        scores = probabilities(opened(path_of(str(self.path))), texts, self.label)
        return pl.DataFrame({"quality": pl.Series(scores, dtype=pl.Float64)})

    def reasons(self) -> list[Reason]:
        score = pl.col("quality")
        unscored = when("unscored", score.is_nan(), score)
        if self.top is None:
            return [*unscored, *below("low", score, self.threshold)]
        return [*unscored, Reason("not_in_top", score < pl.col("quality_cut"), score, side="below")]
