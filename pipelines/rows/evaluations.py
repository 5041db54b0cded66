"""Evaluation sets that corpora and rows are compared with: documents, or the questions of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from windtunnel.pipelines.rows.peek import layout_of
from windtunnel.pipelines.rows.read_rows import read_rows_work
from windtunnel.pipelines.rows.texts import RowTexts
from windtunnel.pipelines.sources._read import read_work
from windtunnel.pipelines.sources._source import RecordSource, Source
from windtunnel.schemas.plugin import full_spec, make
from windtunnel.schemas.role import StepName


def evaluation_step(add: Callable[..., Any], spec: Any, *names: str) -> Any:
    """Add the reading of an evaluation set; return the step that has its texts in `documents/`.

    Records without the text column of their source that have a layout of rows are seen by their questions.
    """
    source = make(Source, spec)
    layout = layout_of(source) if isinstance(source, RecordSource) else None
    if layout is None:
        return add(StepName("read", *names), read_work(spec), {})
    rows = add(StepName("read", *names), read_rows_work(spec, full_spec(layout)), {})
    return add(StepName("texts", *names), RowTexts(on="question"), {"rows": rows})
