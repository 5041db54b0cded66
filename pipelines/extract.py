"""HTML into text: resiliparse by default, trafilatura as an option."""

from __future__ import annotations


def fragment_text(html: str) -> str:
    """Return the plain text of an HTML fragment: everything in it, with paragraphs and list bullets."""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(html, preserve_formatting=True, main_content=False).strip()
