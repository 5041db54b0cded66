"""Results of training and comparison: one run, one effect against the baseline, one comparison of all mixes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from windtunnel.schemas.records import Record


class Totals(Record):
    """Sums over held-out documents; metrics are ratios of sums, never means of ratios."""

    nats: float  # summed negative log-likelihood, natural logarithm
    bytes: int  # UTF-8 bytes, each scored once
    documents: int

    @classmethod
    def of(cls, parts: Iterable[Totals]) -> Totals:
        """Return the sum of several totals."""
        rows = list(parts)
        return cls(
            nats=math.fsum(row.nats for row in rows),
            bytes=sum(row.bytes for row in rows),
            documents=sum(row.documents for row in rows),
        )

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan


class GradientNoise(Record):
    """How much the gradient of one token differs from the mean gradient, at the end of a stage."""

    trace: float  # of the covariance of a token's gradient
    squared_norm: float  # of the true gradient; an estimate, which noise can make negative
    critical_batch_tokens: float | None  # trace / squared_norm; None where either is not positive
    steps: int  # that were averaged


class RunResult(Record):
    """Data, cost and scores of one run, that is one mix with one seed."""

    measured: ClassVar[tuple[str, ...]] = ("seconds", "cpu_seconds", "tokens_per_second")  # not reproducible

    mix: str
    seed: int
    config: str  # digest of the configuration and the input keys
    objective: str
    delta: str | None = None  # its name; None: all weights train, or results of earlier versions
    measure: str | None = None  # of the held-out scores: likelihood, pseudo_likelihood, target; None: no or unknown
    parameters: int
    trained_parameters: int | None = None  # of them, that the stage trains; None: results of earlier versions
    tokens: int  # tokens trained on, repetitions included
    steps: int
    skipped_steps: int = 0  # of them, left out by `skip_spikes`
    bytes_trained: int  # UTF-8 bytes of those tokens
    flops: float  # done: 6 x (body + head parameters) x tokens, less for frozen weights, plus causal attention
    flops_whole_attention: float | None = None  # the same without the causal mask, as utilisation (MFU) is given
    seconds: float  # training only, without evaluation
    cpu_seconds: float
    tokens_per_second: float
    final_loss: float  # mean over the last tenth of the steps
    loss_unit: str = "nats per token"  # of `final_loss`
    documents_per_batch: float | None = None  # different documents in a step, mean over the stage
    held_out: Totals | None = None
    domains: dict[str, Totals] = Field(default_factory=dict)  # by held-out source
    metrics: dict[str, float] = Field(default_factory=dict)  # further metrics of the objective, e.g. accuracy
    checkpoints: list[int] = Field(default_factory=list)  # steps whose models are kept, in checkpoints/step-<n>/
    gradient_noise: GradientNoise | None = None  # where it was asked for


class EncodedSet(Record):
    """What became of the rows of one set and source when a run encoded them with its template."""

    role: str  # `conversations` or `preferences`, or those with `held_out_`
    stage: str = ""  # the objective that learns from them; empty for held-out rows
    set: str  # of the mix; empty for held-out rows
    source: str
    rows: int
    kept: int
    tokens: int  # target tokens of what was kept
    bytes: int  # of their answers
    refused: dict[str, int] = Field(default_factory=dict)  # by reason
    mend: str = ""  # what to do about the commonest reason

    @property
    def commonest(self) -> str:
        """The reason for which most rows were refused, empty where none was."""
        return max(self.refused, key=self.refused.__getitem__, default="")


CLUSTERS_FROM = (
    20  # sources, from which on they are a sample of sources; fewer are strata, and a population of their own
)
LEFT = 5  # an undeclared look leaves alpha / LEFT to the next one

Verdict = Literal["better", "worse", "equivalent", "undecided"]
# `direction`: which is better is known, and not whether by more than the margin; its verdict is `undecided`
Outcome = Literal["better", "worse", "equivalent", "direction", "undecided"]


class Effect(Record):
    """Paired difference of one mix and the baseline on one metric, with its interval and verdict."""

    mix: str
    baseline: str
    metric: str
    direction: Literal["lower", "higher"] = "lower"  # which way is better
    value: float  # mean over seeds of the mix's metric
    baseline_value: float
    effect: float  # mix minus baseline, in units of the metric
    low: float | None  # None with one seed, which gives no estimate of the spread
    high: float | None
    interval: float  # nominal coverage of (low, high) that was used, 0.95, or that of the look
    seeds: int
    documents: int
    sources: int
    verdict: Verdict
    outcome: Outcome = "undecided"  # defined in trainer.stats.verdicts
    seeds_needed: int | None  # in total; None when decided, or when seeds alone cannot decide
    seeds_needed_low: int | None = None  # 10 to 90 % range of the seeds needed; None above 1,000
    seeds_needed_high: int | None = None
    documents_needed: int | None = None  # in total, where documents limit
    smallest_visible: float | None = None  # effect that these runs would have decided with 80 % power, if undecided
    margin: float | None  # smaller differences are considered irrelevant
    p: float | None  # two-sided, for the null hypothesis of no difference
    p_holm: float | None  # after Holm's correction over the mixes
    p_margin: float | None = None  # for a difference of at most the margin, after Holm's correction
    seed_error: float | None  # standard error of the effect over seeds
    document_error: float | None  # standard error from sampling the held-out documents, shared by all seeds
    degrees: float | None  # of freedom of the document error
    t_low: float | None  # t interval over seeds, with the documents fixed
    t_high: float | None
    sources_low: float | None = None  # interval with the sources as a sample, too; None with one source
    sources_high: float | None = None
    equal: bool = False  # the scores are those of the baseline in every run
    looks: list[int] = Field(default_factory=list)  # declared, as numbers of seeds
    after: list[int] = Field(default_factory=list)  # undeclared looks before this one, as numbers of seeds
    note: str = ""
    withheld: str = ""  # why there is no verdict, whatever the scores
    reference: bool = False  # the mix is one that no training made

    @property
    def judged(self) -> bool:
        """Whether the scores differ and could have decided; False for equal, diverged and constant differences."""
        return (
            not self.equal and not self.withheld and (self.outcome != "undecided" or self.smallest_visible is not None)
        )

    @property
    def few_sources(self) -> bool:
        """Whether the sources are several and too few to stand for others."""
        return 2 <= self.sources < CLUSTERS_FROM

    @property
    def next_interval(self) -> float:
        """The level at which a later look that was not declared is judged."""
        return 1 - (1 - self.interval) / LEFT

    def contract(self) -> dict[str, Any]:
        """Return the eight fields that `windtunnel effects --json` prints for each mix.

        Under looks a ninth, `interval`, is the level of (low, high), which is not the one asked for.
        """
        fields = {"mix", "metric", "effect", "low", "high", "seeds", "verdict", "seeds_needed"}
        return self.model_dump(include=fields | ({"interval"} if self.looks or self.after else set()))


class Domain(Record):
    """One source of the evaluation set."""

    name: str
    documents: int
    bytes: int


class MeasuredOn(Record):
    """Description of the evaluation set of a comparison."""

    description: str
    documents: int
    bytes: int
    domains: list[Domain] = Field(default_factory=list)


class Parts(Record):
    """The two parts of an effect, which add up to it."""

    mixture: Effect  # the baseline's documents at the mix's shares of sources, minus the baseline
    documents: Effect  # the mix minus the baseline's documents at its shares of sources


class Comparison(Record):
    """All mixes against one baseline on one evaluation set, best first."""

    baseline: str
    metric: str
    unit: str
    direction: Literal["lower", "higher"]
    interval: float
    margin: float | None
    looks: list[int] = Field(default_factory=list)  # declared interim analyses, as numbers of seeds
    spending: str = ""
    after: list[int] = Field(default_factory=list)  # undeclared looks before this one
    on: MeasuredOn
    seeds: list[str]
    values: dict[str, float]  # mean over seeds by mix, including the baseline
    seed_sd: dict[str, float | None]  # standard deviation over seeds by mix
    effects: list[Effect]
    parts: dict[str, Parts] = Field(default_factory=dict)  # by mix, where the sources were pinned
    encoded: dict[str, list[EncodedSet]] = Field(default_factory=dict)  # by mix, where runs learn from rows
    incomparable: dict[str, str] = Field(default_factory=dict)  # mix -> why its scores measure something else
    not_asked: dict[str, dict[str, int]] = Field(default_factory=dict)  # mix -> TASK:REASON -> questions
    questions: dict[str, int] = Field(default_factory=dict)  # of tasks that are not compared on all they have
    left_out: int = 0  # questions that only some of the models were asked
    called: str = "mix"  # what is compared: mixes, variants of a training, or trainings of both
    judged_by: dict[str, str] = Field(default_factory=dict)  # of pairs: mix -> the measure that its runs judge them by
    chance: dict[str, float] = Field(default_factory=dict)  # by source: right by its most frequent answer alone

    @classmethod
    def read(cls, directory: Path) -> Comparison:
        """Return the comparison of the artifact of a comparison step."""
        return cls.model_validate_json((directory / "comparison.json").read_bytes())
