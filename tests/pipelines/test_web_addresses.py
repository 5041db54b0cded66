"""Web addresses: what is cut, what stays, and that nothing else of the text changes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.pipelines.filters.web_addresses import WebAddresses


def edited(text: str | None, **params: Any) -> str:
    batch = pa.record_batch({"text": pa.array([text], pa.large_string())})
    return WebAddresses(**params).edit(batch)[0].to_pylist()[0]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("See https://example.org/a?b=c, or not.", "See, or not."),
        ("See (http://x.y/z) here", "See () here"),
        ("HTTPS://EXAMPLE.ORG/Ä works", " works"),
        ("ftp://host/file.tar.gz\nnext", "\nnext"),
        ("go to www.example.museum/x/ now", "go to now"),
        ("at example.com, sub.example.co.uk/path#part and a-b.org.", "at, and."),
        ("write to jo.b+c@mail.example.com!", "write to!"),
        ("router at 192.168.0.1:8080/admin or 10.0.0.255", "router at or"),
        ("a\nhttps://x.y\n\n\n\nb", "a\n\nb"),
        (None, ""),
    ],
)
def test_addresses_go_and_the_sentence_stays(text: str | None, left: str) -> None:
    assert edited(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "The house.It was old, and setup.py or node.js are files.",
        "Version 1.2.3 of e.g. this, at 12:30, for 256.300.1.1 francs.",
        "std::string and a.b.c are names; so is http: alone, and www alone.",
        "comparison.community and organ.organise end in no domain",
        "two\n\nparagraphs",
    ],
)
def test_what_only_looks_like_an_address_stays(text: str) -> None:
    assert edited(text) == text


def test_kinds_can_be_switched_off() -> None:
    text = "example.com\n\n\n\n8.8.8.8 https://x.y"
    assert edited(text, bare=False) == "example.com"
    assert edited(text, ip=False, max_newlines=None) == "\n\n\n\n8.8.8.8"
    assert edited("a\n\n\nb", max_newlines=1) == "a\nb"


def test_the_counts_say_what_was_cut() -> None:
    batch = pa.record_batch({"text": ["a http://b.c http://d.e", "nothing", "f\n\n\n\ng"]})
    assert WebAddresses().edit(batch)[1] == {"addresses": 2, "rewritten_documents": 2}


@given(st.lists(st.sampled_from(["word", "Wort", "語", " ", "\n", ", ", "3,5", "e.g."]), max_size=30))
def test_text_without_addresses_loses_only_line_breaks(parts: list[str]) -> None:
    text = "".join(parts)
    assert edited(text).replace("\n", "") == text.replace("\n", "")
    assert edited(text, max_newlines=None) == text


ADDRESSES = ["https://a.b/c?d=é#f", "www.ab.museum", "jo@mail.example.com", "sub.example.co.uk/x", "10.0.0.1:80/y"]


@given(st.lists(st.sampled_from(["word", "語", "3,5", "(e.g.)", *ADDRESSES]), max_size=20), st.sampled_from(" \n"))
def test_addresses_and_the_space_before_them_go_and_nothing_else(parts: list[str], between: str) -> None:
    left = "".join(between + part for part in parts if part not in ADDRESSES)
    assert edited("".join(between + part for part in parts)) == left


@given(st.text(alphabet="ahtps:/.w@com0129 \n(),é", max_size=60))
def test_what_is_left_stood_there_in_that_order(text: str) -> None:
    characters = iter(text)
    assert all(character in characters for character in edited(text))
