"""A list of rules run over batches in memory: the same measure, decide and edit as the steps of a recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
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
    """What a chain made of a batch: its text rewritten where a rule does, a reason or null a row, measured values."""

    batch: pa.RecordBatch
    reasons: pl.Series
    why: pl.DataFrame
    edits: dict[str, int]


def chain(specs: Sequence[Any], words: str = "fast", language: str = "en") -> list[Link]:
    """Return a recipe's list of rules as links; raises RecipeError for a wrong one, or one that must see all first."""
    for name, rule in rules_of(specs):
        if rule.cuts():
            raise RecipeError(f"rule {name!r} cuts a share of all documents, which batches one by one cannot tell")
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
        keep = reasons.is_null().to_numpy()
        view = batch if text == "text" else batch.append_column("text", batch.column(text))
        frame = pl.from_arrow(measured(view, link.settings, link.own, keep))
        assert isinstance(frame, pl.DataFrame)
        fresh = frame.select(reason=link.verdict).to_series()
        reasons = reasons.zip_with(~pl.Series(keep), fresh) if not keep.all() else fresh
        frames.append(frame)
        keep = reasons.is_null().to_numpy()
        if link.editor and np.any(keep):
            name, rule = link.editor
            batch, found = rewritten(batch, rule, keep, text)
            edits.update({f"{name}.{key}": value for key, value in found.items()})
    why = merged(frames)
    return Judged(batch, reasons, pl.DataFrame() if why is None else why, dict(edits))
