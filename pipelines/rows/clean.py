"""Cleans conversations one by one, on all cores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.generators.core.cleaner import Cleaner, group_of_parts
from windtunnel.generators.core.generator import Generator
from windtunnel.generators.core.rows import whole_row
from windtunnel.generators.text.groups import lineage_of
from windtunnel.pipelines.rows.read_rows import content_bytes
from windtunnel.pipelines.shards.reader import ShardWork, batches
from windtunnel.pipelines.shards.writer import shard_writer
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.plugin import errors_of, make
from windtunnel.schemas.records import OWN_CONVERSATION
from windtunnel.schemas.turns import tools, turns
from windtunnel.schemas.work import Counts

DROPPED = pa.schema([*OWN_CONVERSATION, pa.field("reason", pa.string(), nullable=False)])
ROWS_AT_ONCE = 1024


class CleanRows(ShardWork):
    """Writes what a Cleaner leaves of each row to `rows/` (OWN_CONVERSATION), the others to `dropped/` with `reason`.

    A row that is left as it is keeps its id; the parts of one that is split share a group. Input: `conversations`.
    """

    version: ClassVar[int] = 1
    shards_of: ClassVar[tuple[str, str]] = ("conversations", "rows")
    kind: dict[str, Any] | str

    def cleaner(self) -> Cleaner:
        kind = make(Generator, self.kind)
        assert isinstance(kind, Cleaner)
        return kind

    def plugins(self) -> list[Generator]:
        return [self.cleaner()]

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        kind, counts, dropped, written = self.cleaner(), Counts(), Counter[str](), 0
        path = inputs["conversations"].files("rows")[rank]
        with (
            shard_writer(out, "rows", rank, OWN_CONVERSATION) as keeper,
            shard_writer(out, "dropped", rank, DROPPED) as dropper,
            errors_of(kind, "`clean`"),
        ):
            for batch in batches(path, _known(path), ROWS_AT_ONCE, "id"):
                kept: list[dict[str, Any]] = []
                leaving: list[dict[str, Any]] = []
                rows = batch.to_pylist()
                stays = []  # bool a row: it is left as it is
                for row in rows:
                    parts, reason = _cleaned(kind, row)
                    kept += parts
                    stays.append(len(parts) == 1 and parts[0] is row)
                    if reason:
                        leaving.append({**row, "reason": reason})
                if sum(stays) == len(kept):
                    keeper.write_table(_whole(batch.filter(pa.array(stays, pa.bool_()))))
                else:
                    keeper.write_table(pa.Table.from_pylist(kept, schema=OWN_CONVERSATION))
                dropper.write_table(pa.Table.from_pylist(leaving, schema=DROPPED))
                dropped.update(row["reason"] for row in leaving)
                counts.seen += batch.num_rows
                written += len(kept)
                counts.bytes += sum(content_bytes(row) for row in kept)
        counts.kept = counts.seen - dropped.total()
        counts.dropped = dict(sorted(dropped.items()))
        counts.notes = {"conversations": written} if written != counts.kept else {}
        return counts.check(f"clean, shard {rank}")


def _whole(batch: pa.RecordBatch) -> pa.Table:
    """Return rows with all columns of OWN_CONVERSATION, null where they have none."""
    missing = [field for field in OWN_CONVERSATION if field.name not in batch.schema.names]
    table = pa.Table.from_batches([batch])
    for field in missing:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(OWN_CONVERSATION.names).cast(OWN_CONVERSATION)


def _cleaned(kind: Cleaner, row: dict[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
    """Return (the rows that a row becomes, None) or ([], the reason why it becomes none)."""
    whole = turns(row)
    parts, reason = kind.clean(whole)
    if reason or not parts:
        return [], reason or "nothing_left"
    if len(parts) == 1 and parts[0] == whole:
        return [row], None
    return list(_parts(row, whole, parts)), None


def _parts(row: Mapping[str, Any], whole: list[dict[str, Any]], parts: list[Any]) -> Iterator[dict[str, Any]]:
    lineage = lineage_of(row)
    if len(parts) > 1 and not lineage.get("group") and (group := group_of_parts(whole)):
        lineage["group"] = group
    for number, part in enumerate(parts):
        about = {**lineage, "cleaned": row["id"], **({"part": number} if len(parts) > 1 else {})}
        made = whole_row(part, row["source"], tools(row), row.get("label"))
        yield {**made, "lineage": orjson.dumps(about, option=orjson.OPT_SORT_KEYS).decode()}


def _known(path: Path) -> list[str]:
    names = pq.read_schema(path).names
    return [name for name in OWN_CONVERSATION.names if name in names]
