"""Checks a kind of generator by its examples: scripted answers in, rows and drops out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from windtunnel.generators.core.generator import Example, Generator, Kept
from windtunnel.generators.core.prompt import names
from windtunnel.generators.core.scripted import contents, reasons, session
from windtunnel.schemas.finding import Finding, differs, finding
from windtunnel.schemas.plugin import label
from windtunnel.schemas.records import CONVERSATION, OWN_CONVERSATION, PREFERENCE


def check(cls: type[Generator]) -> Iterator[Finding]:
    """Yield the outcome of every example, and whether schema and prompts are those of the package."""
    yield finding("output and prompts", lambda: _declared(cls))
    if not cls.examples:
        yield Finding("examples", "no example: a script of answers and the rows that come out")
    for example in cls.examples:
        what = f"gives {len(example.kept)} rows with {dict(example.params)}"
        yield finding(what, lambda example=example: _played(cls, example))


def _declared(cls: type[Generator]) -> str | None:
    if cls.output not in (CONVERSATION, OWN_CONVERSATION, PREFERENCE):
        return "`output` is neither CONVERSATION nor PREFERENCE: no trainer reads it"
    unknown = sorted(set(cls.prompts) - set(names()))
    return f"no prompt file {unknown[0]!r} in the package" if unknown else None


def _played(cls: type[Generator], example: Example) -> str | None:
    kind = cls(**example.params)
    if cls.model_validate_json(kind.model_dump_json()) != kind:
        return "the parameters are others when they are read back from JSON, as a worker reads them"
    json.dumps(kind.fingerprint())
    outcomes = list(kind.generate(session(label(cls), kind, example.replies, example.inputs)))
    rows = [outcome.row for outcome in outcomes if isinstance(outcome, Kept)]
    pa.Table.from_pylist(rows, schema=cls.output).validate(full=True)
    problem = differs([list(row) for row in example.kept], [contents(row) for row in rows])
    return problem or differs(dict(example.dropped), reasons(outcomes))
