"""HTML into text: resiliparse by default, trafilatura as an option; with title, date, language and canonical address.

Extraction of hostile pages belongs in a process of its own, with limits: see `windtunnel.pipelines.readers.pages`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

ExtractorName = Literal["resiliparse", "trafilatura"]
Favour = Literal["precision", "balance", "recall"]

_DATE = re.compile(r"\d{4}(-\d{2}){0,2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$")
_DATE_METAS = (
    "article:published_time",
    "datepublished",
    "og:published_time",
    "dc.date.issued",
    "dc.date",
    "dcterms.created",
    "date",
    "pubdate",
    "publish-date",
)
_LONGEST_TITLE = 1000


class Page(NamedTuple):
    """What is kept of a page; `date` is ISO 8601 as far as the page gives it, `encoding` that of the bytes."""

    text: str
    title: str | None = None
    date: str | None = None
    lang: str | None = None
    url: str | None = None
    encoding: str | None = None

    def meta(self) -> dict[str, str]:
        """Return what goes into a document's `meta`; `html_lang` is the page's own word, not a measurement."""
        known = {"title": self.title, "date": self.date, "html_lang": self.lang, "encoding": self.encoding}
        return {name: value for name, value in known.items() if value}


def fragment_text(html: str) -> str:
    """Return the plain text of an HTML fragment: everything in it, with paragraphs and list bullets."""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(html, preserve_formatting=True, main_content=False).strip()


def extract(html: str, extractor: ExtractorName = "resiliparse", favour: Favour = "precision") -> Page:
    """Return the main text of a page with its title, date, language and canonical address.

    resiliparse (Bevendorff et al.) takes its main-content heuristics for precision and balance, all visible text for
    recall. trafilatura (Barbaresi) takes its options of these names; its deduplication across pages is off, since it
    would make a page's text depend on the pages before it.
    """
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(html)
    known = _metadata(tree)  # first: main-content extraction may change the tree
    return Page(_EXTRACTORS[extractor](html, tree, favour).strip(), **known)


def _resiliparse(html: str, tree: Any, favour: Favour) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    # Words inside drawings are labels of shapes, not text that was written to be read in this order.
    main = favour != "recall"
    return extract_plain_text(tree, preserve_formatting=True, main_content=main, skip_elements=["svg"])


def _trafilatura(html: str, tree: Any, favour: Favour) -> str:
    import trafilatura

    text = trafilatura.extract(
        html,
        include_comments=False,
        favor_precision=favour == "precision",
        favor_recall=favour == "recall",
        deduplicate=False,
    )
    return text or ""


_EXTRACTORS = {"resiliparse": _resiliparse, "trafilatura": _trafilatura}


def _metadata(tree: Any) -> dict[str, str | None]:
    metas = {}
    for meta in tree.document.query_selector_all("meta[content]"):
        name = (meta.getattr("property") or meta.getattr("name") or meta.getattr("itemprop") or "").lower()
        metas.setdefault(name, meta.getattr("content"))
    title = metas.get("og:title") or tree.title or ""
    root = tree.document.query_selector("html")
    canonical = tree.document.query_selector("link[rel=canonical][href]")
    url = (canonical.getattr("href") if canonical else None) or metas.get("og:url")
    return {
        "title": " ".join(title.split())[:_LONGEST_TITLE] or None,
        "date": next((date for found in _dates(tree, metas) if (date := _iso_date(found))), None),
        "lang": ((root.getattr("lang") if root else None) or "")[:35] or None,
        "url": url if url and url.startswith(("http://", "https://")) else None,
    }


def _dates(tree: Any, metas: dict[str, str]) -> Iterator[str]:
    """Yield what the page says of its date, the most trustworthy first."""
    yield from (metas[name] for name in _DATE_METAS if metas.get(name))
    for script in tree.document.query_selector_all('script[type="application/ld+json"]'):
        if found := re.search(r'"datePublished"\s*:\s*("[^"\\]{4,40}")', script.text):
            yield json.loads(found[1])
    time = tree.document.query_selector("time[datetime]")
    if time is not None:
        yield time.getattr("datetime") or ""


def _iso_date(text: str) -> str | None:
    text = text.strip()
    return text if _DATE.match(text) else None
