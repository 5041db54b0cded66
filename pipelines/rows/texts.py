"""Rows seen as documents, so that rules, deduplication and decontamination work on them as on any text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa

from windtunnel.pipelines.shards.reader import ShardWork, batches
from windtunnel.pipelines.shards.writer import shard_writer, text_bytes
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import DOCUMENT
from windtunnel.schemas.work import Counts

On = Literal["question", "answers", "conversation"]
COLUMNS = ("id", "source", "messages", "prompt", "chosen", "rejected")
ROWS_AT_ONCE = 1024
Messages = Sequence[Mapping[str, Any]]


class RowTexts(ShardWork):
    """Writes `documents/` (DOCUMENT), one a row and in its place: the text `on` which later steps decide.

    `question`: the first turn of the user. `answers`: the turns of the assistant; of a pair, both answers.
    `conversation`: all turns with their roles. Input: `rows` (its `rows/`).
    """

    version: ClassVar[int] = 1
    shards_of: ClassVar[tuple[str, str]] = ("rows", "rows")
    on: On

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts = Counts()
        with shard_writer(out, "documents", rank, DOCUMENT) as writer:
            for rows in row_batches(inputs["rows"].files("rows")[rank]):
                nothing = pa.nulls(rows.num_rows, pa.string())
                texts = pa.array(texts_of(rows, self.on), pa.large_string())
                columns = [rows["id"], texts, rows["source"], nothing, nothing, nothing]
                batch = pa.RecordBatch.from_arrays(columns, schema=DOCUMENT)
                writer.write_batch(batch)
                counts.seen += rows.num_rows
                counts.bytes += text_bytes(batch)
        counts.kept = counts.seen
        return counts


def row_batches(path: Path, columns: Sequence[str] = COLUMNS) -> Iterator[pa.RecordBatch]:
    """Yield those of the columns that a file of rows has, in batches."""
    import pyarrow.parquet as pq

    names = [name for name in pq.read_schema(path).names if name in columns]
    yield from batches(path, names, ROWS_AT_ONCE, names[0])


def texts_of(rows: pa.RecordBatch, on: On) -> list[str]:
    """Return the text of each row, "" where it has none of that."""
    lists = [
        rows[name].to_pylist() for name in ("messages", "prompt", "chosen", "rejected") if name in rows.schema.names
    ]
    turns = ([turn for part in parts for turn in part or ()] for parts in zip(*lists, strict=True))
    return [TEXT_OF[on](messages) for messages in turns]


def telling_numbers_apart(method: Any) -> Any:
    """Return the spec of a deduplication method that tells numbers apart, unless it says otherwise.

    In questions they matter: "17 + 25" and "17 + 26" are two.
    """
    name, params = (method, {}) if isinstance(method, str) else next(iter(method.items()))
    if name != "minhash":
        return method
    params = params if isinstance(params, dict) else {"threshold": params}
    return {name: {"normalise": {"numbers": False}, **params}}


def _question(messages: Messages) -> str:
    return next((turn["content"] for turn in messages if turn["role"] == "user"), "")


def _answers(messages: Messages) -> str:
    return "\n\n".join(turn["content"] for turn in messages if turn["role"] == "assistant")


def _conversation(messages: Messages) -> str:
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in messages)


TEXT_OF = {"question": _question, "answers": _answers, "conversation": _conversation}
