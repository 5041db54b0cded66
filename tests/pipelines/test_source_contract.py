"""What a source of the user's own gives back is checked, and an error names the source."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa
import pytest

from windtunnel.pipelines.readers.batches import Unreadable
from windtunnel.pipelines.sources import _read
from windtunnel.pipelines.sources._read import items, read_work
from windtunnel.pipelines.sources._source import Source
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.records import DOCUMENT

ROW = {"id": "a", "text": "b", "source": "c"}
NULLABLE = pa.schema([field.with_nullable(True) for field in DOCUMENT])


class Own(Source):
    """A source that gives what it is told."""

    given: ClassVar[Any] = None

    def parts(self) -> Any:
        return self.given

    def read(self, part: Any) -> Any:
        return self.given


def test_parts_are_a_list_of_dicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_read, "make", lambda kind, spec: Own())
    monkeypatch.setattr(_read, "full_spec", lambda source: {"own": {}})
    for given, said in ((None, "None"), (["x"], "list"), (3, "int '3'")):
        monkeypatch.setattr(Own, "given", given)
        with pytest.raises(WindtunnelError, match=rf"source '.*': parts\(\) gives {said}.*, not a list of dicts"):
            read_work("own")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, r"read\(\) gives None"),
        ([ROW], "yields dict .* not a RecordBatch"),
        ([pa.RecordBatch.from_pylist([ROW | {"text": None}], schema=NULLABLE)], "documents without 'text'"),
        ([pa.RecordBatch.from_pylist([{"text": "a"}])], "the columns text: string; documents have the schema"),
        ([Unreadable("s", "w", None)], "an Unreadable whose"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_is_read_is_documents(given: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "given", given)
    with pytest.raises(WindtunnelError, match=f"source '.*' failed in reading .*{said}"):
        list(items(Own(), {}))
    monkeypatch.setattr(Own, "given", [pa.RecordBatch.from_pylist([ROW], schema=DOCUMENT), Unreadable("s", "w", "e")])
    assert len(list(items(Own(), {}))) == 2
