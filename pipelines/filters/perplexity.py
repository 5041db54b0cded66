"""Perplexity of a document under a language model: one trained here, any other of its format, or a KenLM file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import Field, model_validator

from windtunnel.pipelines.filters._rule import Example, Reason, Rule, above, below, when
from windtunnel.pipelines.scorers import causal_lm as causal_scorer
from windtunnel.pipelines.scorers import kenlm_model as kenlm_scorer

_PLAIN = "The river runs along the town, and the people of the town walk along the river."
_NOISE = "xK9#qZ v7Jw@@Qz 0zXxW kkQj%% Zq8vXj"
_TINY: dict[str, Any] = {"model": "tiny-model"}


class Perplexity(Rule):
    """Keep documents whose perplexity lies between `min` and `max`, or in a stretch of its `quantiles`.

    model: a causal language model's directory (a training run's `model/`, or any with config, tokenizer.json and
    safetensors; code in it never runs). The document follows the token that the tokenizer puts before a text, or
    end-of-text; one longer than `context` tokens (the model's own, 2,048 at most, unless named) is read in windows,
    each `stride` tokens after the one before (`context` unless named: a smaller stride costs more and gives every
    token more context). kenlm: an .arpa or binary file instead, read as CCNet reads it: by lines, in the pieces of the
    `sentencepiece` model where there is one, with `normalise` CCNet's lower-case text without accents; needs
    'windtunnel[kenlm]'.

    `by` says what is compared: `perplexity` a token, or `bits_per_byte`, which compares across tokenizers. `quantiles`
    counts every document that was kept before this list of rules, least perplexing first, to within 0.05 % of the
    value: [0, 0.3] is CCNet's head, [0.3, 0.6] its middle. Text without a token goes as `unscored`. Columns:
    `perplexity`, `bits_per_byte` (of the document's UTF-8). Resident: 4 bytes a parameter.
    Source: Wenzek et al. 2020 (CCNet).
    """

    primary: ClassVar[str | None] = "model"
    model: str | None = None
    kenlm: str | None = None
    sentencepiece: str | None = None
    normalise: bool = False
    context: int | None = Field(None, ge=2)
    stride: int | None = Field(None, ge=1)
    by: Literal["perplexity", "bits_per_byte"] = "perplexity"
    min: float | None = Field(None, ge=0)
    max: float | None = Field(None, ge=0)
    quantiles: tuple[float, float] | None = None

    keeps: ClassVar[tuple[Example, ...]] = (
        Example(_PLAIN, params={**_TINY, "max": 20}, needs="tiny-model"),
        Example(_PLAIN, params={**_TINY, "by": "bits_per_byte", "max": 4, "min": 1}, needs="tiny-model"),
        Example(_NOISE, params={**_TINY, "min": 20}, needs="tiny-model"),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example(_NOISE, "high", params={**_TINY, "max": 20}, needs="tiny-model"),
        Example(_PLAIN, "low", params={**_TINY, "min": 20}, needs="tiny-model"),
        Example("", "unscored", params={**_TINY, "min": 1}, needs="tiny-model"),
    )

    @model_validator(mode="after")
    def _whole(self) -> Perplexity:
        if (self.model is None) == (self.kenlm is None):
            raise ValueError(
                "perplexity has either `model:` (a causal language model's directory) or `kenlm:` (a file)"
            )
        if self.kenlm is None and (self.sentencepiece is not None or self.normalise):
            raise ValueError("`sentencepiece:` and `normalise:` go with `kenlm:`")
        if self.model is None and (self.context is not None or self.stride is not None):
            raise ValueError("`context:` and `stride:` go with `model:`")
        if self.context is not None and self.stride is not None and self.stride > self.context:
            raise ValueError("a `stride:` beyond the `context:` would leave tokens unread")
        if self.min is None and self.max is None and self.quantiles is None:
            raise ValueError("perplexity decides by `min:`, `max:` or `quantiles:`; name one")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("`min:` is above `max:`: nothing would be kept")
        if self.quantiles is not None and not 0 <= self.quantiles[0] < self.quantiles[1] <= 1:
            raise ValueError("`quantiles:` are two shares in order, such as [0, 0.3]")
        return self

    def reads(self) -> list[Path]:
        if self.model is not None:
            return causal_scorer.files_of(Path(self.model))
        kenlm_scorer.require("kenlm", *(["sentencepiece"] if self.sentencepiece else []))
        return [Path(name) for name in (self.kenlm, self.sentencepiece) if name is not None]

    def measure_config(self) -> dict[str, Any]:
        kept = self.model_dump(
            mode="json", include={"model", "kenlm", "sentencepiece", "normalise", "context", "stride"}
        )
        return {**kept, "min": 0.0}  # a bound lets the measurement's rule be built; it decides nothing there

    def scores(self) -> tuple[str, ...]:
        return ("perplexity", "bits_per_byte")

    def as_scores(self, values: np.ndarray) -> np.ndarray:
        return 1 / (1 + values)  # its logit is minus the value's logarithm: bins of equal ratio

    def cuts(self) -> dict[str, tuple[str, float]]:
        low, high = self.quantiles or (0.0, 1.0)
        bounds = {f"{self.by}_head": (self.by, low)} if low > 0 else {}
        return bounds | ({f"{self.by}_tail": (self.by, high)} if high < 1 else {})

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        texts = pl.Series("text", batch.column("text").cast(pa.large_string())).fill_null("")
        if self.model is not None:
            scorer = causal_scorer.opened(Path(self.model))
            nats, tokens = scorer.scores(texts.to_list(), self.context, self.stride)
        else:
            pieces = None if self.sentencepiece is None else Path(self.sentencepiece)
            nats, tokens = kenlm_scorer.scores(texts, Path(str(self.kenlm)), pieces, self.normalise)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            perplexity = np.where(tokens > 0, np.exp(nats / tokens), np.nan)
            bits = np.where(tokens > 0, nats / np.log(2) / texts.str.len_bytes().to_numpy(), np.nan)
        return pl.DataFrame({"perplexity": perplexity, "bits_per_byte": bits})

    def reasons(self) -> list[Reason]:
        value, cuts = pl.col(self.by), self.cuts()
        score = 1 / (1 + value)
        reasons = when("unscored", value.is_nan(), value)
        reasons += below("low", value, self.min) + above("high", value, self.max)
        if (head := f"{self.by}_head") in cuts:
            reasons.append(Reason("head", score >= pl.col(head), value, side="below"))
        if (tail := f"{self.by}_tail") in cuts:
            reasons.append(Reason("tail", score < pl.col(tail), value, side="above"))
        return reasons
