"""Copies of a row in a mix are encoded as it is, and a long one that is refused is not tried again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.schemas.records import CONVERSATION
from windtunnel.trainer.data.chat_errors import ChatError
from windtunnel.trainer.data.chat_rows import LONG, write_rows


def test_a_long_row_that_is_refused_is_tried_once_whatever_its_copies(tmp_path: Path) -> None:
    texts = {"long": "x" * LONG, "other": "y" * LONG, "short": "z"}
    rows = [
        {"id": f"{name}{copy}", "messages": [{"role": "user", "content": text}], "source": "s"}
        for copy in ("", "~2", "~3")
        for name, text in texts.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=CONVERSATION), tmp_path / "rows.parquet")
    tried = Counter[str]()

    def encode(record: Any) -> Any:
        content = record["messages"][0]["content"]
        tried[content[0]] += 1
        raise ChatError("too_long", content[0])

    counts = write_rows("conversations", [tmp_path / "rows.parquet"], encode, tmp_path / "out")
    assert counts.dropped == {"too_long": 9} and tried == {"x": 1, "y": 1, "z": 3}
    dropped = pq.read_table(tmp_path / "out" / "dropped.parquet").to_pylist()
    assert [row["detail"] for row in dropped] == ["x", "y", "z"] * 3
