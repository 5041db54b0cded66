"""The names of measured columns: two measurements of one list of rules cannot share a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from windtunnel.pipelines.features.kernels.columns import COLUMNS
from windtunnel.pipelines.filters._rule import Rule, columns_of
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import RecipeError
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
    measuring = list(
        {(reference(rule), canonical_json(rule.measure_config())): rule for rule in rules if rule.measures}.values()
    )
    outside = [rule for rule in measuring if rule.external and not rule.reads()]
    if not outside:
        return
    built_in = [(rule, _decided_columns(rule)) for rule in measuring if rule.external is None]
    check_names(COLUMNS, [*built_in, *((rule, _columns_of_nothing(rule)) for rule in outside)])


def _decided_columns(rule: Rule) -> list[str]:
    return [column for column in columns_of([("", reason) for reason in rule.reasons()]) if column not in COLUMNS]


def _columns_of_nothing(rule: Rule) -> list[str]:
    try:
        return rule.measure(pa.RecordBatch.from_pylist([], schema=DOCUMENT)).columns
    except Exception as error:
        raise RecipeError(
            f"rule {reference(rule)!r} fails on a batch without documents, as empty shards have it: "
            f"{type(error).__name__}: {error}"
        ) from error
