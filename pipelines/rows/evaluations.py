"""Evaluation sets that corpora and rows are compared with: documents, or the questions of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from windtunnel.pipelines.layouts._layout import Layout
from windtunnel.pipelines.layouts.question import Question
from windtunnel.pipelines.rows.peek import peek
from windtunnel.pipelines.rows.read_rows import read_rows_work
from windtunnel.pipelines.rows.texts import RowTexts
from windtunnel.pipelines.sources._read import read_work
from windtunnel.pipelines.sources._source import RecordSource, Source
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import full_spec, make
from windtunnel.schemas.role import StepName

TEXT = "text"
FURTHER = ("goal", "input")  # columns of questions that no rows have


def evaluation_step(add: Callable[..., Any], spec: Any, *names: str) -> Any:
    """Add the reading of an evaluation set; return the step that has its texts in `documents/`.

    Records without a column `text` are seen by their questions, whatever their answers are.
    """
    source = make(Source, spec)
    layout = questions_in(source) if isinstance(source, RecordSource) else None
    if layout is None:
        return add(StepName("read", *names), read_work(spec), {})
    rows = add(StepName("read", *names), read_rows_work(spec, full_spec(layout)), {})
    return add(StepName("texts", *names), RowTexts(on="question"), {"rows": rows})


def questions_in(source: RecordSource) -> Layout | None:
    """Return how the questions of records are read; None where a text column is given or there, or none is known.

    A column of questions comes before the layouts with answers, which may be numbers or lists in an evaluation.
    """
    if source.text != TEXT:
        return None
    try:
        votes, _ = peek(source)
        if TEXT in votes.columns:
            return None
        alone = (Question(), *(Question(prompt=name) for name in FURTHER))
        return next((each for each in alone if each.fits(votes.columns)), None) or votes.layout("")
    except (InputError, OSError, pa.ArrowException):  # broken files too: whoever reads the texts says what is wrong
        return None
