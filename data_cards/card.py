"""Data cards in the Hugging Face Hub's format: YAML front matter followed by Markdown."""

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
LICENCES = {  # lower-case SPDX expression -> the Hub's identifier
    "apache-2.0": "apache-2.0", "mit": "mit", "bsd-3-clause": "bsd-3-clause", "cc0-1.0": "cc0-1.0",
    "cc-by-4.0": "cc-by-4.0", "cc-by-sa-4.0": "cc-by-sa-4.0", "cc-by-sa-3.0": "cc-by-sa-3.0", "odc-by": "odc-by",
}  # fmt: skip


class Origin(Record):
    """One set of texts from which the data were derived."""

    name: str
    about: str = ""
    licence: str
    origin: str = ""


class Card(Record):
    """Contents of the card of one corpus or one set of generated rows."""

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
    models: dict[str, str] = Field(default_factory=dict)  # for generated rows: name -> description
    calibration: str = ""  # one sentence on the judge
    remarks: str = ""  # notes of a human reviewer
    limits: list[str]
    key: str
    versions: dict[str, str] = Field(default_factory=dict)
    git: str = ""


def front_matter(card: Card) -> dict[str, Any]:
    """Return the front matter fields that the Hub reads."""
    licences = sorted({LICENCES.get(origin.licence.lower(), "other") for origin in card.origins}) or ["unknown"]
    codes = [code for code in card.languages if re.fullmatch(r"[a-z]{2,3}", code)]
    fields: dict[str, Any] = {
        "pretty_name": _plain(card.name),
        "license": licences[0] if len(licences) == 1 else "other",
        "size_categories": [next((word for size, word in SIZES if card.documents < size), "n>10B")],
        "tags": ["windtunnel", *(["synthetic"] if card.models else [])],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": f"{card.folder}/*.parquet"}]}],
    }
    return fields | ({"language": codes} if codes else {})


def render(card: Card) -> str:
    """Return the card as Markdown with YAML front matter; text taken from the data is escaped."""
    matter = yaml.safe_dump(front_matter(card), sort_keys=False, allow_unicode=True)
    settings = yaml.safe_dump(card.settings, sort_keys=False, allow_unicode=True) if card.settings else ""
    return template("card.md.j2").render(card=card, matter=matter, settings=settings.strip())


def inert(text: object, limit: int = 300) -> str:
    """Return untrusted text for Markdown: one line, markup escaped, control characters removed."""
    return (
        re.sub(r"([\\`*_{}\[\]()#+!|~<>&])", r"\\\1", _plain(text, limit))
        .replace("\\<", "&lt;")
        .replace("\\&", "&amp;")
    )


def code(text: object) -> str:
    """Return untrusted text for a code span, in which Markdown knows no escapes."""
    return _plain(text).replace("`", "'")


def _plain(text: object, limit: int = 300) -> str:
    line = " ".join(str(text).split())[:limit]
    return "".join(c for c in line if unicodedata.category(c)[0] != "C")


@cache
def template(name: str) -> Template:
    """Return a template of this folder; text from the data goes through its filter `inert`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown: text from the data is escaped by `inert`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"inert": inert, "code": code, "count": lambda n: f"{n:,}"}
    return environment.get_template(name)
