"""Rules measure first and decide after: what a rule file holds, and how a recipe's list of rules becomes work.

A rule is a class of thresholds. `reasons` turns them into polars expressions over measured columns, in the order in
which the first true one decides. Most rules need only the columns that the shared pass of `measuring.features` fills;
a rule with a measurement of its own (a language model's label, a count of e-mail addresses) has `measure`. A rule
that rewrites text has `edit`; what follows it in the list is measured on the rewritten text.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from blake3 import blake3
from pydantic import ValidationError

from schemas.artifact import Artifact, canonical_json
from schemas.errors import InputError, RecipeError
from schemas.plugin import Plugin, find, make, split
from schemas.work import Work

if TYPE_CHECKING:
    from pipelines.measuring.features import Settings


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
    """A document that a rule's file says it keeps or drops; `reason` is checked for dropped ones."""

    text: str
    reason: str = ""
    url: str | None = None
    params: Mapping[str, Any] = {}


class Rule(Plugin):
    """One rule set: thresholds as fields, reasons in order.

    `keeps` and `drops` are the file's own examples; one test runs them all.
    """

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
        """Return the parameters that change this rule's own measured columns, and no thresholds."""
        return {}

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        """Return this rule's own columns, one row a document of `batch` (columns text, url, lang, source if known)."""
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

    @property
    def edits(self) -> bool:
        """Whether `edit` rewrites the text of kept documents."""
        return False

    @property
    def measures(self) -> bool:
        """Whether the rule has a measurement of its own."""
        return type(self).measure is not Rule.measure


class Stage(NamedTuple):
    """One step of a rules list.

    `kind` measure takes roles documents and decisions (if there are any yet); decide takes measures and decisions (if
    any); edit takes documents and decisions. Its artifact takes the place of the one it is named after: measures,
    decisions, or (edit) documents.
    """

    kind: Literal["measure", "decide", "edit"]
    work: Work


class Piece(NamedTuple):
    """Rules that are measured on the same text; the last one may rewrite it."""

    rules: tuple[tuple[str, Rule], ...]

    @property
    def editor(self) -> tuple[str, Rule] | None:
        """The rule that rewrites the text after this piece has decided, if there is one."""
        return self.rules[-1] if self.rules[-1][1].edits else None


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
    """Return (name, rule) for each of a recipe's words; raises RecipeError with the nearest right name."""
    built = []
    for spec in specs:
        rule = make("rule", spec)
        assert isinstance(rule, Rule)
        built.append((split("rule", spec)[0], rule))
    return built


def full_spec(name: str, rule: Rule) -> dict[str, Any]:
    """Return the rule with every parameter written out, so that a default written and one left out are the same."""
    return {name: rule.model_dump(mode="json")}


def pieces(specs: Sequence[Any], words: str = "fast") -> list[Piece]:
    """Return the list of rules, as they are for one way to find words, cut after every rule that rewrites text."""
    found: list[list[tuple[str, Rule]]] = [[]]
    for name, rule in rules_of(specs):
        found[-1].append((name, rule.for_words(words)))
        if rule.edits:
            found.append([])
    return [Piece(tuple(part)) for part in found if part]


def shared_settings(rules: Sequence[tuple[str, Rule]], words: str, language: str) -> Settings:
    """Return the settings of the shared pass that a piece's rules ask for.

    Raises RecipeError when two rules of one piece ask for different ones.
    """
    from pipelines.measuring.features import Settings

    asked: dict[str, tuple[Any, str]] = {}
    for name, rule in rules:
        for key, value in rule.settings().items():
            if key in asked and asked[key][0] != value:
                raise RecipeError(
                    f"rules {asked[key][1]!r} and {name!r} measure {key!r} differently ({asked[key][0]} and {value}): "
                    "put the second into a corpus of its own, made from this one"
                )
            asked[key] = (value, name)
    try:
        return Settings.model_validate({"words": words, "language": language, **{k: v for k, (v, _) in asked.items()}})
    except ValidationError as error:
        raise RecipeError(f"words: {error.errors()[0]['msg']}") from error


def own_measures(rules: Sequence[tuple[str, Rule]]) -> tuple[dict[str, Any], ...]:
    """Return the specs of the rules that have measurements of their own, thresholds left out, each once."""
    specs: dict[tuple[str, str], dict[str, Any]] = {}
    for name, rule in rules:
        if not rule.measures:
            continue
        config = rule.measure_config()
        columns = canonical_json(config) if rule.repeatable else ""
        if specs.setdefault((name, columns), config) != config:
            raise RecipeError(f"rule {name!r} stands twice in one list and measures differently: make it two corpora")
    return tuple({name: config} for (name, _), config in sorted(specs.items(), key=lambda item: item[0]))


def digests(rules: Sequence[tuple[str, Rule]]) -> dict[str, str]:
    """Return blake3 of every file that the rules' measurements read; raises InputError for one that is not there."""
    found = {}
    for name, rule in rules:
        for path in rule.reads():
            if not path.is_file():
                raise InputError(f"rule {name!r} reads {path}, and there is no such file")
            digest = blake3(max_threads=blake3.AUTO).update_mmap(path)
            found[str(path)] = digest.hexdigest()
    return dict(sorted(found.items()))


def stages(specs: Sequence[Any], words: str = "fast", language: str = "en", step: str = "rules") -> list[Stage]:
    """Return the work of a recipe's `rules:` in order: measure, decide, and edit where a rule rewrites text.

    A threshold is part of the decide work only, so changing one runs no measurement again. `step` names the decisions
    (the first piece's step is `step`, later ones `step-2`, ...).
    """
    from pipelines.steps.decide import Decide
    from pipelines.steps.edit import Edit
    from pipelines.steps.measure import Measure

    chain: list[Stage] = []
    for number, piece in enumerate(pieces(specs, words), start=1):
        settings = shared_settings(piece.rules, words, language)
        measure = Measure(settings=settings, rules=own_measures(piece.rules), files=digests(piece.rules))
        chain.append(Stage("measure", measure))
        full = tuple(full_spec(name, rule) for name, rule in piece.rules)
        chain.append(Stage("decide", Decide(rules=full, step=step if number == 1 else f"{step}-{number}")))
        if piece.editor:
            chain.append(Stage("edit", Edit(rule=full_spec(*piece.editor))))
    return chain


def reasons_of(specs: Sequence[Any]) -> list[tuple[str, Reason]]:
    """Return (full reason name, reason) of a list of rules: `rule.reason`, in deciding order."""
    rules = rules_of(specs)
    return [
        (f"{name}.{r.name}", r) for name, r in itertools.chain(*([(n, r) for r in rule.reasons()] for n, rule in rules))
    ]


def verdict(reasons: Sequence[tuple[str, Reason]]) -> pl.Expr:
    """Return an expression: the name of the first reason that holds, null for a document that stays."""
    if not reasons:
        return pl.repeat(None, pl.len(), dtype=pl.String)  # a literal would be one row where it stands alone
    # the lowest place of those that hold: columns of small integers cost a fifth of columns of names
    places = [pl.when(r.drop).then(pl.lit(place, dtype=pl.UInt16)) for place, (_, r) in enumerate(reasons)]
    first = pl.min_horizontal(places)
    found = pl.lit(pl.Series([name for name, _ in reasons])).gather(first)
    for place, (name, reason) in enumerate(reasons):
        if reason.detail is not None:
            told = (first == place) & reason.detail.is_not_null()
            found = pl.when(told).then(pl.lit(f"{name}.") + reason.detail.cast(pl.String)).otherwise(found)
    return found


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


def find_rule(name: str) -> type[Rule]:
    """Return the rule class that a recipe's word names."""
    cls = find("rule", name)
    assert issubclass(cls, Rule)
    return cls
