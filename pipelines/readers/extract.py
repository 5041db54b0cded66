"""Text extraction from HTML with resiliparse or trafilatura, with title, date, language and canonical address.

Untrusted pages should be extracted in a child process with limits: see `windtunnel.pipelines.readers.pages`.
"""

from __future__ import annotations

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
    """The text and metadata of a page; `date` is ISO 8601 as far as given, `encoding` that of the bytes."""

    text: str
    title: str | None = None
    date: str | None = None
    lang: str | None = None
    url: str | None = None
    encoding: str | None = None

    def meta(self) -> dict[str, str]:
        """Return the fields of a document's `meta`; `html_lang` is the language that the page declares."""
        known = {"title": self.title, "date": self.date, "html_lang": self.lang, "encoding": self.encoding}
        return {name: value for name, value in known.items() if value}


def fragment_text(html: str) -> str:
    """Return the complete plain text of an HTML fragment, with paragraphs and list bullets."""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(html, preserve_formatting=True, main_content=False).strip()


def extract(html: str, extractor: ExtractorName = "resiliparse", favour: Favour = "precision") -> Page:
    """Return the main text of a page with its title, date, language and canonical address.

    resiliparse (Bevendorff et al.) uses its main-content heuristics for precision and balance, and all visible text for
    recall. trafilatura (Barbaresi) uses its options of these names, without deduplication across pages, which would
    make the result depend on previous pages.
    """
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(html)
    known = _metadata(tree)  # before main-content extraction, which may modify the tree
    return Page(_EXTRACTORS[extractor](html, tree, favour).strip(), **known)


def _resiliparse(html: str, tree: Any, favour: Favour) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    # The text of drawings consists of labels and is not running text.
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
        "date": next((date for text in _dates(tree, metas) if (date := _iso_date(text))), None),
        "lang": ((root.getattr("lang") if root else None) or "")[:35] or None,
        "url": url if url and url.startswith(("http://", "https://")) else None,
    }


def _dates(tree: Any, metas: dict[str, str]) -> Iterator[str]:
    """Yield the dates of the page, the most reliable first."""
    yield from (metas[name] for name in _DATE_METAS if metas.get(name))
    for script in tree.document.query_selector_all('script[type="application/ld+json"]'):
        if quoted := re.search(r'"datePublished"\s*:\s*"([^"\\]{4,40})"', script.text):
            yield quoted[1]
    time = tree.document.query_selector("time[datetime]")
    if time is not None:
        yield time.getattr("datetime") or ""


def _iso_date(text: str) -> str | None:
    text = text.strip()
    return text if _DATE.match(text) else None
