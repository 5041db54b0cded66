"""Extraction beside its peer: token F1 against source text, and speed, on the same pages in one run.

    python tests/benchmarks/extraction.py [--every 8]

The pages are Python's documentation with navigation and side bars; the gold is the reStructuredText each was made of,
freed of directives and roles. F1 is over bags of lower-case words, averaged over pages. Seconds are CPU time of one
thread, extraction only; ours includes parsing the page once more for title, date and address.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable

import trafilatura

from windtunnel.pipelines.readers.extract import extract
from windtunnel.pipelines.samples.sets.python_docs import PYTHON_DOC, PythonDocs

_BLOCKS = re.compile(
    r"^\.\. (index|highlight|currentmodule|module|testsetup|_|sectionauthor|moduleauthor|include|literalinclude|toctree"
    r"|image|only|raw|contents)[^\n]*\n(?:[ \t]+[^\n]*\n|\n(?=[ \t]))*",
    re.M,
)
_DIRECTIVE = re.compile(r"^\.\.\s*(?:[\w-]+:)?[\w-]+::", re.M)
_OPTION = re.compile(r"^\s+:[\w-]+:(?=\s|$)", re.M)
_ROLE = re.compile(r":[\w:+-]+:`([^`]*)`")
_LINK = re.compile(r"`([^`<]*)\s*<[^>`]*>`_+")


def gold(source: str) -> str:
    """Return what a reader of the page is to see of its reStructuredText."""
    source = _OPTION.sub(" ", _DIRECTIVE.sub(" ", _BLOCKS.sub("", source)))
    source = _ROLE.sub(lambda found: re.sub(r"\s*<[^>]*>$", "", found[1]).lstrip("!~"), source)
    return _LINK.sub(r"\1", source)


def scores(found: str, wanted: str) -> tuple[float, float, float]:
    """Return (F1, precision, recall) over bags of words."""
    ours, theirs = (Counter(re.findall(r"\w+", text.lower())) for text in (found, wanted))
    both = (ours & theirs).total()
    precision, recall = both / max(1, ours.total()), both / max(1, theirs.total())
    return 2 * precision * recall / max(1e-9, precision + recall), precision, recall


def peer(**options: bool) -> Callable[[str], str]:
    """Return trafilatura with options; comments off, as for corpora."""
    return lambda html: trafilatura.extract(html, include_comments=False, **options) or ""


EXTRACTORS: dict[str, Callable[[str], str]] = {
    "windtunnel (resiliparse)": lambda html: extract(html).text,
    "windtunnel, favour recall": lambda html: extract(html, favour="recall").text,
    "trafilatura": peer(),
    "trafilatura, precision": peer(favor_precision=True),
}


def pages(every: int) -> list[tuple[str, str]]:
    """Return (html, gold) of every n-th page that has its source in the package."""
    members = [name for name, _ in PythonDocs().members()]
    there = {name for name, _ in PYTHON_DOC.members()}
    pairs = [(name, name.replace("/html/", "/html/_sources/").removesuffix(".html") + ".rst.txt") for name in members]
    known = [(page, source) for page, source in pairs if source in there][::every]
    return [(PYTHON_DOC.read(page).decode(), gold(PYTHON_DOC.read(source).decode())) for page, source in known]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=8)
    found = pages(parser.parse_args().every)
    megabytes = sum(len(html.encode()) for html, _ in found) / 1e6
    print(f"{len(found)} pages, {megabytes:.1f} MB of HTML")
    print(f"{'':28}{'F1':>8}{'prec.':>8}{'recall':>8}{'MB/s':>8}{'ms/page':>9}")
    speed, quality = {}, {}
    for name, extractor in EXTRACTORS.items():
        extractor(found[0][0])  # imports
        start = time.process_time()
        texts = [extractor(html) for html, _ in found]
        seconds = time.process_time() - start
        each = [scores(text, wanted) for text, (_, wanted) in zip(texts, found, strict=True)]
        f1, precision, recall = (sum(column) / len(each) for column in zip(*each, strict=True))
        speed[name], quality[name] = megabytes / seconds, f1
        print(f"{name:28}{f1:8.3f}{precision:8.3f}{recall:8.3f}{speed[name]:8.1f}{1e3 * seconds / len(found):9.2f}")
    ours = next(iter(EXTRACTORS))
    for name in list(EXTRACTORS)[2:]:
        print(f"{ours} is {speed[ours] / speed[name]:.1f}x as fast as {name}, F1 {quality[ours] - quality[name]:+.3f}")


if __name__ == "__main__":
    main()
