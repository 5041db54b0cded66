"""Data cards in the hub's format: YAML front matter that the hub reads, then Markdown that people read."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from pydantic import Field

from windtunnel.schemas.records import Record

SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
SIZES += ((10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"))
LICENCES = {  # SPDX expression, lower case -> the hub's word
    "apache-2.0": "apache-2.0", "mit": "mit", "bsd-3-clause": "bsd-3-clause", "cc0-1.0": "cc0-1.0",
    "cc-by-4.0": "cc-by-4.0", "cc-by-sa-4.0": "cc-by-sa-4.0", "cc-by-sa-3.0": "cc-by-sa-3.0", "odc-by": "odc-by",
}  # fmt: skip


class Origin(Record):
    """One set of texts that the data come from."""

    name: str
    about: str = ""
    licence: str
    origin: str = ""


class Card(Record):
    """What a card says of one corpus or one set of generated rows."""

    name: str
    question: str
    unit: str = "documents"  # or rows
    folder: str = "kept"
    documents: int
    bytes: int
    seen: int
    languages: dict[str, int] = Field(default_factory=dict)  # code -> documents
    sources: dict[str, int] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)
    unreadable: dict[str, int] = Field(default_factory=dict)
    origins: list[Origin] = Field(default_factory=list)
    settings: list[dict[str, Any]] = Field(default_factory=list)  # rules, methods, generator: name -> parameters
    models: dict[str, str] = Field(default_factory=dict)  # of generated rows: name -> what it is
    calibration: str = ""  # of the judge, in a sentence
    remarks: str = ""  # of a person who read some of it
    limits: list[str]
    key: str
    versions: dict[str, str] = Field(default_factory=dict)
    git: str = ""


def front_matter(card: Card) -> dict[str, Any]:
    """Return the fields that the hub knows."""
    known = sorted({LICENCES.get(origin.licence.lower(), "other") for origin in card.origins}) or ["unknown"]
    codes = [code for code in card.languages if re.fullmatch(r"[a-z]{2,3}", code)]
    fields: dict[str, Any] = {
        "pretty_name": _plain(card.name),
        "license": known[0] if len(known) == 1 else "other",
        "size_categories": [next((word for size, word in SIZES if card.documents < size), "n>10B")],
        "tags": ["windtunnel", *(["synthetic"] if card.models else [])],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": f"{card.folder}/*.parquet"}]}],
    }
    return fields | ({"language": codes} if codes else {})


def render(card: Card) -> str:
    """Return the card: text that comes from data cannot leave its place in the Markdown or the YAML."""
    matter = yaml.safe_dump(front_matter(card), sort_keys=False, allow_unicode=True)
    settings = yaml.safe_dump(card.settings, sort_keys=False, allow_unicode=True) if card.settings else ""
    return _template().render(card=card, matter=matter, settings=settings.strip())


def inert(text: object, limit: int = 300) -> str:
    """Return foreign text for Markdown: one line, no hidden characters, nothing that is markup."""
    return (
        re.sub(r"([\\`*_{}\[\]()#+!|~<>&])", r"\\\1", _plain(text, limit))
        .replace("\\<", "&lt;")
        .replace("\\&", "&amp;")
    )


def _plain(text: object, limit: int = 300) -> str:
    line = " ".join(str(text).split())[:limit]
    return "".join(c for c in line if unicodedata.category(c)[0] != "C")


@cache
def _template() -> Template:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown: what comes from data goes through `inert`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"inert": inert, "count": lambda n: f"{n:,}"}
    return made.get_template("card.md.j2")
