"""What training hands on and what is learnt from it: a run's result, an effect against the baseline, the comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from windtunnel.schemas.records import Record


class Totals(Record):
    """Sums over held-out documents; a ratio is taken of sums, never a mean of ratios."""

    nats: float  # summed negative log-likelihood, natural logarithm
    bytes: int  # UTF-8 bytes, each scored once
    documents: int

    @classmethod
    def of(cls, parts: Iterable[Totals]) -> Totals:
        """Return the sum of parts."""
        rows = list(parts)
        return cls(
            nats=math.fsum(row.nats for row in rows),
            bytes=sum(row.bytes for row in rows),
            documents=sum(row.documents for row in rows),
        )

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan


class RunResult(Record):
    """What one run, one mix and one seed, trained on, cost and reached."""

    measured: ClassVar[tuple[str, ...]] = ("seconds", "cpu_seconds", "tokens_per_second")  # differ from run to run

    mix: str
    seed: int
    config: str  # digest of the whole configuration and the inputs' keys
    objective: str
    parameters: int
    tokens: int  # tokens trained on, repeats counted
    steps: int
    bytes_trained: int  # UTF-8 bytes of those tokens
    flops: float  # 6 x (body + head parameters) x tokens, and attention
    seconds: float  # training, evaluation apart
    cpu_seconds: float
    tokens_per_second: float
    final_loss: float  # nats per token (or per unit of the objective), mean over the last tenth of the steps
    held_out: Totals | None = None
    domains: dict[str, Totals] = Field(default_factory=dict)  # by held-out source
    metrics: dict[str, float] = Field(default_factory=dict)  # the objective's other figures, e.g. accuracy


Verdict = Literal["better", "worse", "equivalent", "undecided"]


class Effect(Record):
    """One mix minus the baseline on one metric: paired over seeds, with the interval that the verdict rests on."""

    mix: str
    baseline: str
    metric: str
    direction: Literal["lower", "higher"] = "lower"  # which way is better
    value: float  # mean over seeds of the mix's metric
    baseline_value: float
    effect: float  # mix minus baseline, in units of the metric
    low: float | None  # None with one seed: there is no spread to make an interval of
    high: float | None
    interval: float  # nominal coverage of (low, high), for example 0.95
    seeds: int
    documents: int
    sources: int
    verdict: Verdict
    seeds_needed: int | None  # in all; None when decided, or when more seeds alone would not do
    margin: float | None  # differences smaller than this do not matter
    p: float | None  # two-sided, against no difference
    p_holm: float | None  # the same after Holm over the mixes; the verdict better or worse uses this one
    seed_error: float | None  # standard error of the effect from seed to seed
    document_error: float | None  # standard error that all seeds share because the held-out set is a sample
    degrees: float | None  # Welch-Satterthwaite degrees of freedom of the interval
    t_low: float | None  # plain t interval over seeds, documents taken as fixed
    t_high: float | None
    bootstrap_low: float | None  # percentiles of the bootstrap over seeds x documents
    bootstrap_high: float | None
    note: str = ""

    def contract(self) -> dict[str, Any]:
        """Return the eight fields that `windtunnel effects --json` prints for each mix."""
        names = ("mix", "metric", "effect", "low", "high", "seeds", "verdict", "seeds_needed")
        return {name: getattr(self, name) for name in names}


class Domain(Record):
    """One part of the evaluation set."""

    name: str
    documents: int
    bytes: int


class MeasuredOn(Record):
    """What an effect was measured on, so that no verdict hides its target."""

    description: str
    documents: int
    bytes: int
    domains: list[Domain] = Field(default_factory=list)


class Comparison(Record):
    """All mixes against one baseline on one evaluation set, best first."""

    baseline: str
    metric: str
    unit: str
    direction: Literal["lower", "higher"]
    interval: float
    margin: float | None
    looks: list[int] = Field(default_factory=list)  # numbers of seeds at which one may look; empty: one look
    spending: str = ""
    on: MeasuredOn
    seeds: list[str]
    values: dict[str, float]  # mean over seeds, by mix, the baseline included
    seed_sd: dict[str, float | None]  # standard deviation over seeds, by mix
    effects: list[Effect]

    @classmethod
    def read(cls, directory: Path) -> Comparison:
        """Return the comparison of the artifact of a comparison step."""
        return cls.model_validate_json((directory / "comparison.json").read_bytes())
