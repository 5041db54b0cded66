"""The names of measured columns: two measurements of one list of rules cannot share a name."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from windtunnel.pipelines.features.kernels.columns import COLUMNS
from windtunnel.pipelines.filters._rule import Rule, columns_of
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.records import DOCUMENT


def check_columns(rules: Sequence[tuple[str, Rule]]) -> None:
    """Raise RecipeError where a rule from outside the package shares a column with another measurement.

    Built-in rules have names of their own. Rules from outside measure an empty batch here, which names their columns.
    """
    if all(rule.external is None for _, rule in rules):
        return
    owners = {"id": "the documents", **dict.fromkeys(COLUMNS, "the shared measurements")}
    measurements = {(name, canonical_json(rule.measure_config())): rule for name, rule in rules if rule.measures}
    for (name, _), rule in sorted(measurements.items(), key=lambda item: item[1].external is not None):
        for column in _own_columns(rule):
            if column in owners and rule.external is not None:
                raise RecipeError(
                    f"rule {name!r} measures a column {column!r}, which is a column of {owners[column]}: give it "
                    "another name"
                )
            owners[column] = f"rule {name!r}"


def _own_columns(rule: Rule) -> list[str]:
    if rule.external is None:
        return [column for column in columns_of([("", reason) for reason in rule.reasons()]) if column not in COLUMNS]
    try:
        return rule.measure(pa.RecordBatch.from_pylist([], DOCUMENT)).columns
    except Exception:  # its error belongs to the run, which tells the shard and the traceback
        return []
