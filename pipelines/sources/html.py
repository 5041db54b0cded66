"""HTML files, one page a document: main text, title, date, canonical address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from windtunnel.pipelines.readers.batches import Remark, Row, Stated, Unreadable, batches
from windtunnel.pipelines.readers.pages import Failure, PageExtractor, RawPage
from windtunnel.pipelines.readers.paths import shown
from windtunnel.pipelines.readers.streams import BrokenStream, chunks
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.sources._file_groups import GroupedSource
from windtunnel.pipelines.sources._page_source import PROSE, PageSource
from windtunnel.pipelines.sources._source import Example


class Html(PageSource, GroupedSource):
    """One document a file; the file's path is in `meta`. Compressed files are read as what they hold."""

    version: ClassVar[int] = 2
    suffixes: ClassVar[tuple[str, ...]] = (".html", ".htm", ".xhtml")
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"a.html": f"<nav>Home</nav><article><p>{PROSE}</p></article>"}, (PROSE,)),
        Example({"a.html": "<script>1</script>"}, (), {"no_main_text": 1}),
    )
    max_document_bytes: int = Field(default=16 << 20, gt=0)

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Remark]:
        with self.extractor_process() as process:
            yield from batches(self._rows(part, process))
        yield Stated(part["files"])

    def _rows(self, part: dict[str, Any], process: PageExtractor) -> Iterator[Row | Unreadable]:
        for raw, page in process.extract(self._page(path) for path in self.group(part)):
            path, unreadable = raw.context
            origin, where = self.group_origin(path), shown(path)
            if unreadable is not None:
                yield unreadable
            elif isinstance(page, Failure):
                yield Unreadable(origin, where, page.error, page.detail)
            else:
                yield self.row(page, origin, where, None, {"file": where})

    def _page(self, path: File) -> RawPage:
        data, size = [], 0

        def lost(error: str, detail: str) -> RawPage:
            return RawPage(b"", None, (path, Unreadable(self.group_origin(path), shown(path), error, detail)))

        try:
            for piece in chunks(path):
                size += len(piece)
                if size > self.max_document_bytes:
                    return lost("too_large", f"more than {self.max_document_bytes} bytes")
                data.append(piece)
        except BrokenStream as error:
            return lost(error.error, error.detail)
        return RawPage(b"".join(data), None, (path, None))
