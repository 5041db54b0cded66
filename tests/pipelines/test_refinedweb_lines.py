"""RefinedWeb's line edits against the rules told one line at a time, on made and on real documents."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.pipelines.filters._chain import chain, judge
from windtunnel.pipelines.filters.refinedweb_lines import COUNTED, RefinedwebLines

SPACES = " \n\r\t\v\f\0"
MENU = (("items in cart", "any"), ("read more...", "end"), ("sign-in", "start"))


def told(text: str) -> tuple[str, int, int]:
    """Return (text after DCLM's line edits, words before, words after), line by line in plain Python."""
    before = words(text)
    text = "\n".join(x for x in text.split("\n") if not x or sum(map(str.isupper, x)) / len(x) <= 0.5).strip()
    text = "\n".join(x for x in text.split("\n") if not (x and all(map(str.isdigit, x)))).strip()
    counter = re.compile(rf"\W*\d(?:,|\.|\d)*(?:k|m|b)?\s+(?:{COUNTED})\W*")
    text = "\n".join(x for x in text.split("\n") if not counter.fullmatch(x.lower())).strip()
    text = "\n".join(x for x in text.split("\n") if not x or len(x.split()) >= 2)
    for phrase, place in MENU:
        kept = []
        for x in text.split("\n"):
            new = shortened(x, phrase, place) if len(x.split()) <= 10 else x
            kept += [new] if not x or new.strip() else []
        text = "\n".join(kept).strip()
    return text, before, words(text)


def shortened(line: str, phrase: str, place: str) -> str:
    text = re.escape(phrase)
    pattern = {"any": rf"\s?{text}", "end": rf"\s?{text}$", "start": rf"^{text}\s?"}[place]
    return re.sub(pattern, "", line, flags=re.IGNORECASE)


def words(text: str) -> int:
    tokens = re.split(f"[{SPACES}]+", text)
    return sum(token[0].isalnum() for token in tokens if token)


def ours(texts: list[str], **params: Any) -> tuple[list[str], list[str | None]]:
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    judged = judge(batch, chain([{"refinedweb_lines": params}]))
    return judged.batch.column("text").to_pylist(), judged.reasons.to_list()


def same(texts: list[str]) -> None:
    new, reasons = ours(texts)
    for text, got, reason in zip(texts, new, reasons, strict=True):
        wanted, before, after = told(text)
        if not after:
            assert reason == "refinedweb_lines.nothing_left", text
        elif (before - after) / before > 0.05:
            assert reason == "refinedweb_lines.too_many_words_removed", text
        else:
            assert (got, reason) == (wanted, None), text


PIECES = st.sampled_from(
    ["MENU", "Home", "12", "²", "3,4k Likes", " 7 views ", "Items in cart", "read more...", "Sign-in now", "", " ",
     "\t", "a line of some length that stays", "ÄÖÜ äöü", "...", "read more abc", "ONE two THREE", "12 345"]
)  # fmt: skip


@settings(max_examples=100)
@given(st.lists(st.lists(PIECES, max_size=4).map(" ".join), max_size=12).map("\n".join), st.integers(0, 4))
def test_lines_go_as_the_rules_say(head: str, prose: int) -> None:
    same([head + "\nThis is plain prose that nobody would take out of a page, whatever the rule may be." * 8 * prose])


def test_whole_lines_and_phrases() -> None:
    prose = "Nobody had told the miller that the water would rise by so much before the morning came. " * 6
    page = (
        f"{prose}\nSign-in to go on\n{prose}Read more...\nMENU BAR\n1,024 Followers\n42\nonce\n{prose}\n3 items in cart"
    )
    (text,), (reason,) = ours([page])
    assert (
        reason is None and text == f"{prose}\nto go on\n{prose}Read more...\n{prose}\n3"
    )  # a long line keeps its ending


def test_scripts_without_spaces_are_not_thrown_away() -> None:
    line = "昨日は友達と一緒に古い映画を見に行きました。"
    (text,), (reason,) = ours(["\n".join([line] * 4)])
    assert reason is None and text == "\n".join([line] * 4)


def test_the_share_decides_anew_without_a_measurement() -> None:
    assert RefinedwebLines().measure_config() == RefinedwebLines(max_removed=0.5).measure_config()
    page = "Some words of prose stand here for all to read.\nMENU AND MORE MENU"
    assert ours([page])[1] == ["refinedweb_lines.too_many_words_removed"]
    assert ours([page], max_removed=0.5)[1] == [None]


@pytest.mark.slow
@pytest.mark.network
def test_real_documents() -> None:
    from windtunnel.pipelines.samples.sample_set import read

    texts = [
        t for name in ("web", "mail", "sqlite_docs") for batch in read(name) for t in batch.column("text").to_pylist()
    ]
    same([text for text in texts[::5] if text.isascii()])
