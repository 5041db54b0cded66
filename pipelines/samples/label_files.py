"""Files of labelled rows made from sample texts: instructions with a passage, answered by a label.

`origin`: which of six kinds of text a passage is from. `follows`: whether a second passage stands behind the first in
its text, or is from elsewhere, of any kind; half and half. A passage is one or two sentences. Every row asks in one of
four wordings. Passages of a document are taken only after one of every other document.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from windtunnel.pipelines.readers.batches import Row
from windtunnel.pipelines.samples.cache import cache_folder
from windtunnel.pipelines.samples.sample_set import sample_set
from windtunnel.schemas.artifact import canonical_json

VERSION = 1
LABELS = {  # sample set -> what the rows call it
    "api_docs": "reference",
    "drama": "play",
    "encyclopedia": "encyclopedia",
    "mail": "mail",
    "speeches": "speech",
    "sqlite_docs": "database",
}
KINDS = ("origin", "follows")
CHARACTERS = (40, 100)  # of a passage
DOCUMENTS = 1500  # of a sample set that are looked at
WORDINGS = {
    "origin": (
        "What is this from?\n{}",
        "{}\nName the source.",
        "{}\nFrom which kind of text is that?",
        "Passage: {}\nKind of text?",
    ),
    "follows": (
        "Does 2 follow 1?\n1. {}\n2. {}",
        "{}\n{}\nIs that one text?",
        "{}\n---\n{}\nDo these belong together?",
        "Text: {}\nNext: {}\nRight?",
    ),
}
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")


class Passage(NamedTuple):
    """A passage, the one behind it in its document (empty: none), and where it is from."""

    text: str
    next: str
    label: str
    document: str


def write(kind: str, number: int) -> Path:
    """Return the file of at most `number` rows in the cache, made from the sample sets unless it is there."""
    about = canonical_json([VERSION, kind, number, {name: sample_set(name).fingerprint() for name in LABELS}])
    path = cache_folder("rows") / f"{kind}-{blake3(about.encode()).hexdigest()[:8]}.jsonl"
    if not path.exists():
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        rows = ({"prompt": question, "completion": label} for question, label in _rows(kind, number))
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        os.replace(partial, path)
    return path


def _rows(kind: str, number: int) -> list[tuple[str, str]]:
    """Return (instruction, label) of rows in a random order that does not change."""
    by_label = [_in_turn(list(_passages(name, label))) for name, label in LABELS.items()]
    if kind == "follows":
        by_label = [[passage for passage in passages if passage.next] for passages in by_label]
    share = min(number // len(LABELS), *map(len, by_label)) // 2 * 2
    chosen = sorted((p for passages in by_label for p in passages[:share]), key=lambda p: _hash(f"{kind} {p.text}"))
    rows = []
    for place, passage in enumerate(chosen):
        wording = WORDINGS[kind][_hash(f"asked {passage.text}") % len(WORDINGS[kind])]
        if kind == "origin":
            rows.append((wording.format(passage.text), passage.label))
        elif place % 2:
            rows.append((wording.format(passage.text, passage.next), "yes"))
        else:  # every second passage is in one row
            others = (chosen[(place + step) % len(chosen)] for step in itertools.count(2, 2))
            other = next(each for each in others if each.document != passage.document)
            rows.append((wording.format(passage.text, other.next), "no"))
    return rows


def _passages(name: str, label: str) -> Iterator[Passage]:
    samples = sample_set(name)
    rows = (row for part in range(samples.parts) for row in samples.part(part))
    documents = (row for row in rows if isinstance(row, Row) and row.lang in ("en", None))
    for number, row in enumerate(itertools.islice(documents, DOCUMENTS)):
        found = list(_cut(row.text))
        for passage, behind in itertools.zip_longest(found, found[1:], fillvalue=""):
            yield Passage(passage, behind, label, f"{name}/{number}")


def _cut(text: str) -> Iterator[str]:
    """Yield passages of whole sentences within CHARACTERS; what is longer is left out, and ends the one before it."""
    held = ""
    for sentence in _SENTENCE.split(" ".join(text.split())):
        joined = f"{held} {sentence}".strip()
        if len(joined) > CHARACTERS[1]:
            joined = sentence if len(sentence) <= CHARACTERS[1] else ""
        held = joined
        if len(held) >= CHARACTERS[0]:
            yield held
            held = ""


def _in_turn(passages: list[Passage]) -> list[Passage]:
    """Return passages, each text once, such that all documents come before the second of any one."""
    by_document: dict[str, list[Passage]] = {}
    for passage in {passage.text: passage for passage in passages}.values():
        by_document.setdefault(passage.document, []).append(passage)
    ranked = []
    for own in by_document.values():
        ranked += enumerate(sorted(own, key=lambda passage: _hash(passage.text)))
    return [passage for _, passage in sorted(ranked, key=lambda item: (item[0], _hash(item[1].text)))]


def _hash(text: str) -> int:
    return int.from_bytes(blake3(text.encode("utf-8", "surrogatepass")).digest(8), "big")
