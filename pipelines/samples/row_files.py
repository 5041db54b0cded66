"""Files of questions and answers made from the leads of an encyclopedia, in the layouts in which people keep theirs.

`short`: first sentences as answers. `full`: whole leads. `right`: pairs of the right lead and another article's, of
about its length. `longer`: pairs of the lead and its first sentence. `questions`: other articles, with the first two
sentences. Articles are shared out among the five by the hash of their titles, so no file asks about another's articles.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from windtunnel.pipelines.readers.batches import Row
from windtunnel.pipelines.samples.cache import cache_folder
from windtunnel.pipelines.samples.sample_set import sample_set
from windtunnel.schemas.artifact import canonical_json

VERSION = 1
SET = "encyclopedia"
CHARACTERS = (200, 900)  # of a lead
KINDS = ("short", "full", "right", "longer", "questions")
LAYOUTS = ("alpaca", "sharegpt", "messages", "completion", "preference", "implicit", "kto")
FORMATS = (".jsonl", ".csv", ".parquet")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_ASKED = ("What is {}?", "Tell me about {}.", "What do you know about {}?", "Explain what {} is.")


class Article(NamedTuple):
    """A title, its lead, and the lead's sentences."""

    title: str
    lead: str
    sentences: list[str]


def write(kind: str, layout: str, number: int, suffix: str) -> Path:
    """Return the file of at most `number` rows in the cache, made from the sample set unless it is there."""
    folder = cache_folder("rows")
    about = canonical_json([VERSION, kind, layout, number, sample_set(SET).version, sample_set(SET).fingerprint()])
    path = folder / f"{kind}-{layout}-{blake3(about.encode()).hexdigest()[:8]}{suffix}"
    if not path.exists():
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        _WRITERS[suffix](partial, [_LAYOUTS[layout](*row) for row in _rows(kind, number)])
        os.replace(partial, path)
    return path


def _rows(kind: str, number: int) -> Iterator[tuple[str, str, str]]:
    """Yield (question, answer, worse answer)."""
    articles = sorted(_articles(), key=lambda article: _hash(article.title))
    mine = [article for article in articles if _hash(article.title) % len(KINDS) == KINDS.index(kind)][:number]
    by_length = sorted(mine, key=lambda article: (len(article.lead), article.title))
    place = {article.title: at for at, article in enumerate(by_length)}
    for article in mine:
        question = _ASKED[_hash(f"asked {article.title}") % len(_ASKED)].format(article.title)
        first, whole = article.sentences[0], article.lead
        other = by_length[(place[article.title] + 1) % len(by_length)].lead
        answers = {
            "short": (first, ""),
            "full": (whole, ""),
            "right": (whole, other),
            "longer": (whole, first),
            "questions": (" ".join(article.sentences[:2]), other),
        }
        yield question, *answers[kind]


def _articles() -> Iterator[Article]:
    seen: set[str] = set()
    samples = sample_set(SET)
    for part in range(samples.parts):
        for row in samples.part(part):
            if not isinstance(row, Row) or row.lang != "en" or not isinstance(row.meta, dict):
                continue
            title, lead = str(row.meta["title"]), " ".join(row.text.split())
            sentences = _SENTENCE.split(lead)
            if title not in seen and CHARACTERS[0] <= len(lead) <= CHARACTERS[1] and len(sentences) > 1:
                seen.add(title)
                yield Article(title, lead, sentences)


def _hash(text: str) -> int:
    return int.from_bytes(blake3(text.encode()).digest(8), "big")


def _said(
    *contents: str, names: tuple[str, str] = ("role", "content"), roles: tuple[str, str] = ("user", "assistant")
) -> Any:
    return [{names[0]: role, names[1]: content} for role, content in zip(roles, contents, strict=True)]


_LAYOUTS: dict[str, Callable[[str, str, str], dict[str, Any]]] = {
    "alpaca": lambda q, a, _: {"instruction": q, "input": "", "output": a},
    "sharegpt": lambda q, a, _: {"conversations": _said(q, a, names=("from", "value"), roles=("human", "gpt"))},
    "messages": lambda q, a, _: {"messages": _said(q, a)},
    "completion": lambda q, a, _: {"prompt": q, "completion": a},
    "preference": lambda q, a, b: {"prompt": q, "chosen": a, "rejected": b},
    "implicit": lambda q, a, b: {"chosen": _said(q, a), "rejected": _said(q, b)},
    "kto": lambda q, a, _: {"prompt": q, "completion": a, "label": True},
}


def _write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    flat = [{k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in row.items()} for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


_WRITERS = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}
