"""Runs a list of rules over batches in memory, with the measure, decide and edit of a recipe's steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from windtunnel.pipelines.features.settings import Settings
from windtunnel.pipelines.filters._edit import rewritten
from windtunnel.pipelines.filters._measure import built, measured
from windtunnel.pipelines.filters._rule import Rule, reasons_of, rules_of, verdict
from windtunnel.pipelines.filters._stages import own_measures, pieces, shared_settings
from windtunnel.pipelines.shards.aligned import merged
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import full_spec


class Link(NamedTuple):
    """One piece of a chain, ready to run."""

    settings: Settings
    own: list[Rule]
    verdict: pl.Expr
    editor: tuple[str, Rule] | None


class Judged(NamedTuple):
    """The result of a chain for one batch.

    `batch`: the rows, with rewritten text. `reasons`: null for rows that stay. `why`: measured values. `edits`: counts
    of changes by rule.
    """

    batch: pa.RecordBatch
    reasons: pl.Series
    why: pl.DataFrame
    edits: dict[str, int]


def chain(specs: Sequence[Any], words: str = "fast", language: str = "en") -> list[Link]:
    """Return a list of rules as links; raises RecipeError for a wrong rule, or one that needs all documents first."""
    for name, rule in rules_of(specs):
        if rule.cuts():
            raise RecipeError(f"rule {name!r} keeps a share of all documents, which is not known from single batches")
    return [
        Link(
            shared_settings(piece.rules, words, language),
            [built(spec) for spec in own_measures(piece.rules)],
            verdict(reasons_of([full_spec(rule) for _, rule in piece.rules])),
            piece.editor,
        )
        for piece in pieces(specs, words)
    ]


def judge(batch: pa.RecordBatch, links: Sequence[Link], text: str = "text") -> Judged:
    """Run a chain over one batch; `text` names the column that holds the text."""
    reasons = pl.Series("reason", [None] * batch.num_rows, dtype=pl.String)
    frames: list[pl.DataFrame] = []
    edits: Counter[str] = Counter()
    for link in links:
        alive = reasons.is_null()
        view = batch if text == "text" else batch.append_column("text", batch.column(text))
        frame = pl.DataFrame(measured(view, link.settings, link.own, alive.to_numpy()))
        reasons = frame.select(reason=link.verdict).to_series().zip_with(alive, reasons)
        frames.append(frame)
        if link.editor:
            name, rule = link.editor
            batch, changes = rewritten(batch, rule, reasons.is_null().to_numpy(), text)
            edits.update({f"{name}.{key}": value for key, value in changes.items()})
    why = merged(frames)
    return Judged(batch, reasons, pl.DataFrame() if why is None else why, dict(edits))
