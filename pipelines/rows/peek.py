"""A look at the first records of a source, before anything is read: which columns they have, and which layout."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from windtunnel.pipelines.layouts._layout import Layout
from windtunnel.pipelines.layouts._recognise import Votes
from windtunnel.pipelines.sources._source import RecordSource
from windtunnel.schemas.errors import InputError

PEEKED = 100  # records


class Peek(NamedTuple):
    """What the first records have, and the parts of the source, for which its files were looked at."""

    votes: Votes
    parts: list[dict[str, Any]]


def peek(source: RecordSource) -> Peek:
    """Return what the first records of a source have; raises InputError where there is nothing to read."""
    votes = Votes()
    voting = source.reading(lambda fields: votes)
    parts = voting.parts()
    for part in parts[:1]:
        for _ in islice(voting.records(part), PEEKED):
            pass
    return Peek(votes, parts)


def layout_of(source: RecordSource) -> Layout | None:
    """Return the layout of records that lack the source's text column; None where they have it, or no known layout."""
    try:
        votes, _ = peek(source)
        return None if source.text in votes.columns else votes.layout("")
    except (InputError, OSError, pa.ArrowException):  # broken files too: whoever reads the texts says what is wrong
        return None
