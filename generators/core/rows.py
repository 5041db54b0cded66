"""Generated rows: built with their id, written in batches, each file complete or absent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.generators.core.generator import Dropped, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.row_check import RowCheck
from windtunnel.schemas import plugin, turns
from windtunnel.schemas.artifact import PARQUET, canonical_json, writing
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.records import document_id

DROPPED = pa.schema(
    [
        pa.field("reason", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),  # the step of the kind that decided
        pa.field("failed", pa.bool_(), nullable=False),  # true: the model gave no usable answer; false: refused
        pa.field("raw", pa.large_string(), nullable=False),  # the model's text as it came
        pa.field("lineage", pa.string()),
    ]
)

Messages = Sequence[Mapping[str, str]]
BATCH = 512


def message(role: str, content: str) -> dict[str, str]:
    """Return a chat message."""
    return {"role": role, "content": content}


def dialogue(*contents: str, name: str = "p", roles: Sequence[str] = ("user", "assistant")) -> dict[str, Any]:
    """Return a small input row with these messages, for examples."""
    messages = [message(roles[i % len(roles)], content) for i, content in enumerate(contents)]
    return {"id": name, "source": "s", "messages": messages}


def conversation_row(messages: Messages, source: str) -> dict[str, Any]:
    """Return a row of windtunnel.schemas.records.CONVERSATION; its id is the hash of source and messages."""
    messages = [message(m["role"], m["content"]) for m in messages]
    return {"id": document_id(source, canonical_json(messages)), "messages": messages, "source": source}


def whole_row(
    messages: Sequence[Mapping[str, Any]], source: str, tools: Sequence[Any] | None = None, label: bool | None = None
) -> dict[str, Any]:
    """Return a row of windtunnel.schemas.records.OWN_CONVERSATION, of whole turns (windtunnel.schemas.turns).

    Its id is the hash of source and messages, and of what else they have.
    """
    plain, further = turns.split(messages)
    more = turns.extras({"messages": further}, tools)
    name = document_id(source, canonical_json(plain) + (more or ""))
    return {"id": name, "messages": plain, "source": source, "label": label, "extras": more}


def preference_row(
    prompt: Messages,
    chosen: str,
    rejected: str,
    ratings: tuple[float | None, float | None],
    judge: str | None,
    source: str,
) -> dict[str, Any]:
    """Return a row of windtunnel.schemas.records.PREFERENCE with the two answers as one assistant message each."""
    prompt = [message(m["role"], m["content"]) for m in prompt]
    return {
        "id": document_id(source, canonical_json([prompt, chosen, rejected])),
        "prompt": prompt,
        "chosen": [message("assistant", chosen)],
        "rejected": [message("assistant", rejected)],
        "rating_chosen": ratings[0],
        "rating_rejected": ratings[1],
        "judge": judge,
        "source": source,
    }


class RowWriter:
    """The files of one shard: rows, drops and the kind's further tables; streamed, then renamed into place."""

    def __init__(self, kind: Generator, out: Path, rank: int) -> None:
        schemas = {"rows": kind.output, "dropped": DROPPED, **kind.tables}
        self._schemas = schemas
        self._generator = plugin.label(kind)
        self._check = RowCheck(self._generator, schemas)
        self._stack = ExitStack()
        self._buffers: dict[str, list[dict[str, Any]]] = {name: [] for name in schemas}
        self._writers: dict[str, pq.ParquetWriter] = {}
        for name, schema in schemas.items():
            path = self._stack.enter_context(writing(out / name / f"{rank:05d}.parquet"))
            self._writers[name] = self._stack.enter_context(pq.ParquetWriter(path, schema, **PARQUET))
        self.kept = 0
        self.bytes = 0
        self.dropped: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            for name in self._buffers:
                self._flush(name)
        self._stack.__exit__(kind, error, trace)

    def take(self, outcome: Outcome) -> None:
        """Write an outcome and count it; raises WindtunnelError that names generator and field for a row amiss."""
        if isinstance(outcome, Kept):
            self._check.row(outcome.row)
            self.kept += 1
            self.bytes += _content_bytes(outcome.row)
            self._add("rows", outcome.row)
        elif isinstance(outcome, Dropped):
            self._drop(outcome.reason, outcome.raw, outcome)
            self.dropped[outcome.reason] += 1
        else:
            self._drop(outcome.error, outcome.detail, outcome)
            self.failed[outcome.error] += 1
        for name, rows in outcome.extra.items():
            for row in rows:
                self._check.table(name, row)
                self._add(name, row)

    def _drop(self, reason: str, raw: str, outcome: Dropped | Failed) -> None:
        for name, value in (("reason", reason), ("stage", outcome.stage), ("text", raw)):
            if not isinstance(value, str):
                raise WindtunnelError(
                    f"generator {self._generator!r} drops a row with a {type(value).__name__} for its {name}, not text"
                )
        try:
            row = _dropped(reason, raw, outcome)
        except (TypeError, ValueError) as error:
            raise WindtunnelError(
                f"generator {self._generator!r} gives a lineage that no JSON can hold: {error}"
            ) from error
        self._add("dropped", row)

    def _add(self, name: str, row: dict[str, Any]) -> None:
        self._buffers[name].append(row)
        if len(self._buffers[name]) >= BATCH:
            self._flush(name)

    def _flush(self, name: str) -> None:
        if self._buffers[name]:
            try:
                table = pa.Table.from_pylist(self._buffers[name], schema=self._schemas[name])
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                said = next(iter(str(error).splitlines()), "")
                raise WindtunnelError(
                    f"generator {self._generator!r}: rows of {name!r} cannot be stored: {said}"
                ) from error
            self._writers[name].write_table(table)
            self._buffers[name].clear()


def _dropped(reason: str, raw: str, outcome: Dropped | Failed) -> dict[str, Any]:
    return {
        "reason": reason,
        "stage": outcome.stage,
        "failed": isinstance(outcome, Failed),
        "raw": raw.encode("utf-8", "replace").decode("utf-8"),  # a broken reply may hold a lone surrogate
        "lineage": canonical_json(outcome.lineage),
    }


def _content_bytes(row: Mapping[str, Any]) -> int:
    """Return the bytes of all message contents of a row."""
    lists = (value for key, value in row.items() if key in ("messages", "prompt", "chosen", "rejected"))
    return sum(len(m["content"].encode("utf-8", "replace")) for messages in lists for m in messages)
