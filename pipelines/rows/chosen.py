"""The chosen answers of pairs as conversations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import orjson
import pyarrow as pa

from windtunnel.pipelines.shards.reader import ShardWork, batches
from windtunnel.pipelines.shards.writer import shard_writer
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import OWN_CONVERSATION
from windtunnel.schemas.role import by_name
from windtunnel.schemas.turns import extras, split, tools, turns
from windtunnel.schemas.work import Counts

GROUPED = OWN_CONVERSATION.append(pa.field("group", pa.string()))


class ChosenAnswers(ShardWork):
    """Writes `rows/` (OWN_CONVERSATION and `group`): prompt and chosen answer of every pair. Input: `rows:pairs`."""

    version: ClassVar[int] = 1
    shards_of: ClassVar[tuple[str, str]] = ("rows:pairs", "rows")

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts, path = Counts(), by_name(inputs, "rows")["pairs"].files("rows")[rank]
        with shard_writer(out, "rows", rank, GROUPED) as writer:
            for batch in batches(path, rows=1024, text="id"):
                rows = [_conversation(row) for row in batch.to_pylist()]
                writer.write_table(pa.Table.from_pylist(rows, schema=GROUPED))
                counts.seen += len(rows)
        counts.kept = counts.seen
        return counts


def _conversation(row: dict[str, object]) -> dict[str, object]:
    messages, further = split([*turns(row, "prompt"), *turns(row, "chosen")])
    about = {"pair": row["id"]}
    return {
        **{name: row.get(name) for name in ("id", "source", "group")},
        "messages": messages,
        "lineage": row["lineage"] or orjson.dumps(about).decode(),
        "extras": extras({"messages": further}, tools(row)),
    }
