"""Rules measure first and decide after: what a rule file holds, and how a recipe's list of rules becomes work.

A rule is a class of thresholds. `reasons` turns them into polars expressions over measured columns, in the order in
which the first true one decides. Most rules need only the columns that the shared pass of `measuring.features` fills;
a rule with a measurement of its own (a language model's label, a count of e-mail addresses) has `measure`. A rule
that rewrites text has `edit`; what follows it in the list is measured on the rewritten text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import ValidationError

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import Plugin, errors_of, label, make, reference


class Reason(NamedTuple):
    """Why a document goes: `drop` is true, or null when it could not be measured (null never drops).

    `detail`, where it has a value, is put behind the name: a reason that only the measurement knows.
    """

    name: str
    drop: pl.Expr
    value: pl.Expr | None = None  # what is compared with the limit
    limit: float | None = None
    side: Literal["above", "below", "is"] = "is"
    detail: pl.Expr | None = None


class Example(NamedTuple):
    """A document that a rule keeps or drops; `windtunnel check rule NAME` runs it."""

    text: str
    reason: str = ""  # of a dropped one
    url: str | None = None
    params: Mapping[str, Any] = {}
    becomes: str | None = None  # the text of a kept one afterwards, where the rule rewrites it
    needs: str = ""  # a file or directory that the parameters name; without it the example is skipped

    @property
    def shown(self) -> str:
        """The beginning of the text and the parameters, on one line."""
        text = self.text if len(self.text) <= 40 else f"{self.text[:40]}..."
        return f"{text!r}{f' with {dict(self.params)}' if self.params else ''}"


class Rule(Plugin):
    """One rule set: thresholds as fields, reasons in order. `keeps` and `drops` are its examples."""

    keeps: ClassVar[tuple[Example, ...]] = ()
    drops: ClassVar[tuple[Example, ...]] = ()
    reads_meta: ClassVar[bool] = False  # `measure` is given the column `meta` too
    repeatable: ClassVar[bool] = False  # may stand several times in a list: its columns are named by its parameters

    def reasons(self) -> list[Reason]:
        """Return the reasons in the order in which they are asked; the first true one decides."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return the fields of `features.Settings` that this rule needs set: they change measured columns."""
        return {}

    def measure_config(self) -> dict[str, Any]:
        """Return the parameters that change this rule's own measured columns: all, where a rule does not say.

        `measure` is called on a rule that has these parameters alone. A rule that leaves its thresholds out is not
        measured again when one of them changes.
        """
        return self.model_dump(mode="json")

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        """Return this rule's own columns, one row a document of `batch` (columns text, url, lang, source if known).

        Planning a recipe calls this with an empty batch for rules from outside the package, to check the names.
        """
        raise NotImplementedError

    def edit(self, batch: pa.RecordBatch) -> tuple[pa.Array, dict[str, int]]:
        """Return the rewritten text column of kept documents and counts of what was rewritten."""
        raise NotImplementedError

    def reads(self) -> list[Path]:
        """Return the files that measuring reads (models, lists); their contents are part of the measurement's key."""
        return []

    def bound(self, inputs: Mapping[str, Artifact]) -> Rule:
        """Return the rule with what the measuring step's other inputs give it, such as a model trained by the plan."""
        return self

    def scores(self) -> tuple[str, ...]:
        """Return the own columns whose histogram over all shards measuring writes; see `as_scores`."""
        return ()

    def as_scores(self, values: np.ndarray) -> np.ndarray:
        """Return the values of a column of `scores` as numbers from 0 to 1, best highest; nan is not counted."""
        return values

    def cuts(self) -> dict[str, tuple[str, float]]:
        """Return what `reasons` needs to know of all shards: name -> (column of `scores`, share of the highest)."""
        return {}

    def for_words(self, words: str) -> Rule:
        """Return the rule as it is where words are found `fast` or `exact`; most are the same."""
        return self

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return the reasons in deciding order and the measured columns that they read, at the defaults.

        Where a parameter has no default, those of the first example are taken.
        """
        params: Mapping[str, Any] = {}
        try:
            rule = cls()
        except ValidationError:
            params = next((example.params for example in (*cls.drops, *cls.keeps)), {})
            rule = cls(**params)
        reasons = [(f"{label(cls)}.{reason.name}", reason) for reason in rule.reasons()]
        described = [
            {"name": name, "side": reason.side, "limit": reason.limit, "columns": columns_of([(name, reason)])}
            for name, reason in reasons
        ]
        rewrites = {"rewrites_text": cls.edit is not Rule.edit}  # with some parameters or all, see `edits`
        return {**rewrites, "reasons": described, "columns": columns_of(reasons), "reasons_at": dict(params)}

    @property
    def edits(self) -> bool:
        """Whether `edit` rewrites the text of kept documents."""
        return False

    @property
    def measures(self) -> bool:
        """Whether the rule has a measurement of its own."""
        return type(self).measure is not Rule.measure


def above(name: str, value: pl.Expr, limit: float | None) -> list[Reason]:
    """Return a reason that drops when `value > limit`; none at all when the limit is switched off (None)."""
    return [] if limit is None else [Reason(name, value > limit, value, float(limit), "above")]


def below(name: str, value: pl.Expr, limit: float | None) -> list[Reason]:
    """Return a reason that drops when `value < limit`; none at all when the limit is switched off (None)."""
    return [] if limit is None else [Reason(name, value < limit, value, float(limit), "below")]


def when(name: str, condition: pl.Expr, value: pl.Expr | None = None) -> list[Reason]:
    """Return a reason that drops when the condition holds."""
    return [Reason(name, condition, value)]


def ratio(part: str | pl.Expr, whole: str | pl.Expr) -> pl.Expr:
    """Return part / whole in double precision, and 0 where the whole is 0: an empty document divides nothing."""
    numerator = pl.col(part) if isinstance(part, str) else part
    denominator = pl.col(whole) if isinstance(whole, str) else whole
    return numerator / denominator.clip(lower_bound=1)


def rules_of(specs: Sequence[Any]) -> list[tuple[str, Rule]]:
    """Return (label, rule) for each spec; raises RecipeError with the nearest right name."""
    rules = [make(Rule, spec) for spec in specs]
    references: dict[str, str] = {}
    for rule in rules:
        if references.setdefault(label(rule), reference(rule)) != reference(rule):
            raise RecipeError(
                f"rules {references[label(rule)]!r} and {reference(rule)!r} would both be called {label(rule)!r} in "
                "reasons: rename one of the classes"
            )
    return [(label(rule), rule) for rule in rules]


def reasons_of(specs: Sequence[Any]) -> list[tuple[str, Reason]]:
    """Return (full reason name, reason) of a list of rules: `rule.reason`, in deciding order."""
    return [(f"{name}.{reason.name}", reason) for name, rule in rules_of(specs) for reason in _reasons(rule)]


def _reasons(rule: Rule) -> list[Reason]:
    with errors_of(rule, "`reasons`"):
        reasons = rule.reasons()
    if rule.external is None:
        return reasons
    where = f"rule {reference(rule)!r}: `reasons`"
    if not isinstance(reasons, list) or not all(isinstance(reason, Reason) for reason in reasons):
        raise RecipeError(f"{where} must return a list of Reason, as `above`, `below` and `when` give")
    for reason in reasons:
        if not (isinstance(reason.name, str) and reason.name.isprintable() and 0 < len(reason.name) <= 64):
            raise RecipeError(f"{where}: the name {reason.name!r} must be 1 to 64 printable characters")
        if not isinstance(reason.drop, pl.Expr):
            raise RecipeError(f"{where}: `drop` of {reason.name!r} must be a polars expression, not {reason.drop!r}")
    return reasons


def own_columns(rule: Rule, batch: pa.RecordBatch) -> pl.DataFrame:
    """Return what a rule measures, one row a document; raises WindtunnelError that names the rule where it fails."""
    with errors_of(rule, "`measure`"):
        frame = rule.measure(batch)
        if not isinstance(frame, pl.DataFrame):
            raise TypeError(f"a polars DataFrame is expected, not {type(frame).__name__}")
        if frame.width and frame.height != batch.num_rows:
            raise ValueError(f"{frame.height} rows for {batch.num_rows} documents")
        if unstored := [name for name, dtype in frame.schema.items() if dtype == pl.Object]:
            raise TypeError(f"the column {unstored[0]!r} holds Python objects")
    return frame


def verdict(reasons: Sequence[tuple[str, Reason]]) -> pl.Expr:
    """Return an expression: the name of the first reason that holds, null for a document that stays."""
    if not reasons:
        return pl.repeat(None, pl.len(), dtype=pl.String)  # a literal would be one row where it stands alone
    # the lowest place of those that hold: columns of small integers cost a fifth of columns of names
    places = [pl.when(r.drop).then(pl.lit(place, dtype=pl.UInt16)) for place, (_, r) in enumerate(reasons)]
    first = pl.min_horizontal(places)
    name_of_first = pl.lit(pl.Series([name for name, _ in reasons])).gather(first)
    for place, (name, reason) in enumerate(reasons):
        if reason.detail is not None:
            has_detail = (first == place) & reason.detail.is_not_null()
            name_of_first = (
                pl.when(has_detail).then(pl.lit(f"{name}.") + reason.detail.cast(pl.String)).otherwise(name_of_first)
            )
    return name_of_first


def columns_of(reasons: Sequence[tuple[str, Reason]]) -> list[str]:
    """Return the measured columns that the reasons read, in first-read order."""
    read = (e for _, reason in reasons for e in (reason.drop, reason.detail) if e is not None)
    return list(dict.fromkeys(column for expression in read for column in expression.meta.root_names()))


def explain(specs: Sequence[Any], why: Mapping[str, Any]) -> pl.DataFrame:
    """Return one row a reason for one document's measured values: rule, reason, value, side, limit, drops.

    Reasons whose columns were not measured are left out.
    """
    rows = []
    frame = pl.DataFrame([{key: value for key, value in why.items() if value is not None}])
    for name, reason in reasons_of(specs):
        if not set(reason.drop.meta.root_names()) <= set(frame.columns):
            continue
        value = frame.select((reason.value if reason.value is not None else reason.drop).cast(pl.String)).item()
        rule, _, short = name.partition(".")
        drops = bool(frame.select(reason.drop).item())
        rows.append((rule, short, value, reason.side, reason.limit, drops))
    names = ["rule", "reason", "value", "side", "limit", "drops"]
    return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)
