"""Sources of web pages: how their text is extracted, and what of a page goes into the document."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.readers.extract import ExtractorName, Favour, Page
from windtunnel.pipelines.readers.pages import PageExtractor
from windtunnel.pipelines.sources._source import FileSource

PROSE = "The ship left the harbour at dawn, and those who had come to see it stayed with the pilots until noon."


class PageSource(FileSource):
    """Files of HTML.

    extractor: resiliparse, or trafilatura, which is about twenty times slower. favour: precision takes the main text
    only, recall everything that is to be seen. seconds_per_page: CPU time after which a page is given up.
    """

    extractor: ExtractorName = "resiliparse"
    favour: Favour = "precision"
    seconds_per_page: float = Field(default=10.0, gt=0)

    def extractor_process(self) -> PageExtractor:
        return PageExtractor(self.extractor, self.favour, self.seconds_per_page)

    def row(self, page: Page, origin: str, where: str, url: str | None, more: dict[str, Any]) -> Row | Unreadable:
        """Return a page's document; `url` is where it was fetched, else the address that the page gives itself."""
        if not page.text:
            return Unreadable(origin, where, "no_main_text", page.title)
        known = {name: value for name, value in more.items() if value}
        return Row(page.text, origin, url or page.url, meta={**page.meta(), **known})
