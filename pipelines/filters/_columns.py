"""The names of measured columns: two measurements of one list of rules cannot share a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from windtunnel.pipelines.features.kernels.columns import COLUMNS
from windtunnel.pipelines.filters._rule import Rule, columns_of, own_columns, reasons_of
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import RecipeError, WindtunnelError, nearest
from windtunnel.schemas.plugin import reference
from windtunnel.schemas.records import DOCUMENT

SHARED = "the shared measurements"


def check_names(shared: Iterable[str], measurements: Iterable[tuple[Rule, Iterable[str]]]) -> None:
    """Raise RecipeError where the columns of a rule have the names of others, or of the documents' `id`."""
    owners = {"id": "the documents", **dict.fromkeys(shared, SHARED)}
    for rule, columns in measurements:
        for column in columns:
            if column in owners:
                raise RecipeError(
                    f"rule {reference(rule)!r} measures a column {column!r}, which is a column of {owners[column]}: "
                    "give it another name"
                )
            owners[column] = f"rule {reference(rule)!r}"


def check_rules(rules: Sequence[Rule]) -> None:
    """Raise RecipeError for rules from outside the package that collide with others, or fail on an empty batch.

    Built-in rules have names of their own. A rule that reads files, such as a model, is left out, because it would load
    them where a recipe is only planned; its columns are checked when it measures.
    """
    if not any(rule.external for rule in rules):
        return
    measuring = {
        (reference(rule), canonical_json(rule.measure_config()) if rule.repeatable else ""): rule
        for rule in rules
        if rule.measures
    }.values()
    built_in = [(rule, _decided_columns(rule)) for rule in measuring if rule.external is None]
    known = [(rule, _schema_of_nothing(rule)) for rule in measuring if rule.external and not rule.reads()]
    check_names(COLUMNS, [*built_in, *((rule, schema.names()) for rule, schema in known)])
    if any(rule.external and rule.measures and rule.reads() for rule in rules):
        return  # any rule may decide from columns of this one
    schema = {name: pl.Int64() for name in COLUMNS} | {k: v for _, each in known for k, v in each.items()}
    others = {column for _, columns in built_in for column in columns}
    for rule in rules:
        if rule.external:
            _check_reasons(rule, schema, others)


def _decided_columns(rule: Rule) -> list[str]:
    return [column for column in columns_of(reasons_of([rule])) if column not in COLUMNS]


def _schema_of_nothing(rule: Rule) -> pl.Schema:
    try:
        return own_columns(rule, pa.RecordBatch.from_pylist([], schema=DOCUMENT)).schema
    except WindtunnelError as error:
        raise RecipeError(f"{error} (on a batch without documents, as empty shards have it)") from error


def _check_reasons(rule: Rule, schema: Mapping[str, Any], others: set[str]) -> None:
    """Raise RecipeError for a reason that reads an unknown column, or that is no condition on known ones."""
    cuts = dict.fromkeys(rule.cuts(), pl.Float64())
    frame = pl.DataFrame(schema={**schema, **cuts})
    for name, reason in reasons_of([rule]):
        where, read = f"rule {reference(rule)!r}, reason {name!r}", columns_of([(name, reason)])
        for column in read:
            if column not in frame.columns and column not in others:
                known = nearest(column, [*frame.columns, *others])
                raise RecipeError(f"{where} reads a column {column!r} that is not measured: {known}")
        if others & set(read):
            continue  # of a type that only measuring tells
        try:
            detail = pl.lit(None) if reason.detail is None else reason.detail
            dtype = frame.select(drop=reason.drop, detail=detail).schema["drop"]
        except pl.exceptions.PolarsError as error:
            raise RecipeError(f"{where} cannot be decided: {type(error).__name__}: {error}") from error
        if dtype not in (pl.Boolean, pl.Null):
            raise RecipeError(f"{where}: `drop` must be true or false for a document, and is of type {dtype}")
