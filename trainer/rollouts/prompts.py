"""The prompts that a model replies to while it trains: conversations without their last answer.

Rows lie in an Arrow file that is read through a memory map, so memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from windtunnel.schemas.artifact import writing
from windtunnel.schemas.records import MESSAGES
from windtunnel.schemas.turns import turns
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.data.row_encoders import without_answer

BATCH = 512
FILE = "prompts"


class Prompt(NamedTuple):
    """A prompt with the answer that its row gives, if it has one that is not labelled undesirable."""

    id: str
    messages: list[dict[str, Any]]
    answer: str | None


class Prompts:
    """The prompts of encoded rows by number, with the answers of their conversations."""

    def __init__(self, rows: Rows, files: Sequence[Path]):
        self.rows, self._files = rows, files

    def __len__(self) -> int:
        return len(self.rows)

    def ids(self, number: int) -> list[int]:
        """Return the token ids of a prompt, which ends with an open turn of the assistant."""
        return self.rows[number].ids.tolist()

    def prompt(self, number: int) -> Prompt:
        """Return a prompt by the number of its encoded row."""
        (record,) = self._table.slice(number, 1).to_pylist()
        messages, answer = without_answer(turns(record))
        return Prompt(record["id"], messages, None if record["label"] is False else answer)

    @cached_property
    def _table(self) -> pa.Table:
        chosen = blake3("\0".join(self.rows.sets).encode()).hexdigest()[:16]
        path = self.rows.path / f"{FILE}-{chosen}.arrow"
        if not path.exists():
            self._write(path)
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()

    def _write(self, path: Path) -> None:
        """Write the records of the encoded rows, in their order, which is that of the files."""
        kept = zip(self.rows.of_sets.to_pylist(), self.rows.ids.to_pylist(), strict=True)
        wanted = next(kept, None)
        schema = pa.schema({"id": pa.string(), "messages": MESSAGES, "extras": pa.string(), "label": pa.bool_()})
        with writing(path) as partial, pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for file in self._files:
                for batch in pq.ParquetFile(file).iter_batches(BATCH):
                    records = []
                    for record in batch.to_pylist():
                        if (record.get("set") or "", record["id"]) == wanted:
                            records.append({name: record.get(name) for name in schema.names})
                            wanted = next(kept, None)
                    writer.write_table(pa.Table.from_pylist(records, schema))
