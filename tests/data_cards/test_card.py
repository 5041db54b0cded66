"""Data cards: fields that the hub reads, counts that add up, foreign text that stays text."""

from __future__ import annotations

import re

import pytest
import yaml

from windtunnel.data_cards.card import Card, Origin, front_matter, inert, render

HOSTILE = "a | b\n---\n# big `code` <script>x</script> [l](javascript:1) \u202e\x00 & **bold**"


def card(**change) -> Card:
    fields = {
        "name": "filtered",
        "question": "Does cleaning help?",
        "documents": 18_514,
        "bytes": 16_600_000,
        "seen": 20_003,
        "languages": {"en": 18_000, "zh-Hant": 514},
        "sources": {"docs": 18_514},
        "dropped": {"length.too_few_words": 1_486},
        "unreadable": {"invalid_json": 3},
        "origins": [Origin(name="docs", about="manuals", licence="Apache-2.0", origin="a package")],
        "settings": [{"length": {"min_words": 50}}],
        "limits": ["Offensive text was not looked for."],
        "key": "0123abcd",
        "versions": {"polars": "2.1"},
    }
    return Card(**{**fields, **change})


def matter(text: str) -> dict:
    _, head, _ = text.split("---\n", 2)
    return yaml.safe_load(head)


def test_front_matter_is_what_the_hub_reads() -> None:
    found = matter(render(card()))
    assert found == front_matter(card())
    assert found["license"] == "apache-2.0"
    assert found["language"] == ["en"]
    assert found["size_categories"] == ["10K<n<100K"]
    assert found["configs"][0]["data_files"] == [{"split": "train", "path": "kept/*.parquet"}]
    assert found["tags"] == ["windtunnel"]


@pytest.mark.parametrize(
    ("licences", "expected"),
    [([], "unknown"), (["MIT"], "mit"), (["MIT", "Apache-2.0"], "other"), (["own terms"], "other")],
)
def test_several_or_unknown_licences_are_not_made_into_one(licences, expected) -> None:
    origins = [Origin(name=str(k), licence=licence) for k, licence in enumerate(licences)]
    assert front_matter(card(origins=origins))["license"] == expected
    assert ("Not stated" in render(card(origins=origins))) == (not licences)


@pytest.mark.parametrize(("documents", "size"), [(0, "n<1K"), (1000, "1K<n<10K"), (10**12, "n>10B")])
def test_size_categories(documents, size) -> None:
    assert front_matter(card(documents=documents))["size_categories"] == [size]


def test_every_count_is_on_the_card() -> None:
    text = render(card())
    rows = dict(re.findall(r"^\| (.+?) \| ([\d,]+) \|$", text, re.MULTILINE))
    numbers = {name.replace("\\", ""): int(value.replace(",", "")) for name, value in rows.items()}
    assert numbers.pop("came in") == sum(numbers.values()) == 20_003
    assert "min_words: 50" in text and "manuals" in text and "Offensive text" in text


def test_generated_rows_name_their_models() -> None:
    text = render(
        card(unit="rows", folder="rows", models={"smol": "sample model smollm2"}, calibration="agreed in 61%")
    )
    assert matter(text)["tags"] == ["windtunnel", "synthetic"]
    assert "smol: sample model smollm2" in text and "agreed in 61%" in text


def test_hostile_text_stays_text() -> None:
    origin = Origin(name=HOSTILE, about=HOSTILE, licence=HOSTILE, origin=HOSTILE)
    text = render(card(name=HOSTILE, question=HOSTILE, origins=[origin], dropped={HOSTILE: 1486}, sources={HOSTILE: 1}))
    assert matter(text)["license"] == "other"
    body = text.split("---\n", 2)[2]
    assert "<script" not in body
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", text)
    assert body.count("\n# ") == 1
    tables = [line for line in body.splitlines() if line.startswith("| ") and "big" in line and "dropped" not in line]
    assert len(tables) == 1
    assert len(re.findall(r"(?<!\\)\|", tables[0])) == 5
    assert inert("[a](b)") == "\\[a\\]\\(b\\)"
