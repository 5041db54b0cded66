"""The url rule against datatrove's URLFilter with the same lists: the same decision and reason on every address."""

import random
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from windtunnel.pipelines.filters._chain import chain, judge
from windtunnel.schemas.errors import InputError, RecipeError

LISTS: dict[str, list[str]] = {
    "domains": ["bad.example.com", "worse.co.uk", "hub.blogspot.com", "spam.org", "xn--bcher-kva.example.net"],
    "urls": ["https://mixed.net/page?id=7", "http://fine.com/one"],
    "words": ["casino", "w4rez"],
    "subwords": ["pillsnow", "hotdeal"],
    "soft_words": ["win", "bonus", "prize", "cheap"],
}
HOSTS = [
    "bad.example.com", "www.bad.example.com", "example.com", "worse.co.uk", "shop.worse.co.uk", "co.uk",
    "hub.blogspot.com", "other.blogspot.com", "spam.org", "a.b.spam.org", "notspam.org", "mixed.net", "fine.com",
    "localhost", "192.0.2.7", "[2001:db8::1]", "user:secret@spam.org:8080", "spam.org.",
    "xn--bcher-kva.example.net", "hotdeal.fine.com",
]  # fmt: skip
PARTS = [
    "casino", "casinos", "w4rez", "w4-rez", "win", "winter", "bonus", "prize", "cheap", "pills-now", "pills", "now",
    "hot", "deal", "one", "page", "%20", "é", "月", "a_b", "..", "",
]  # fmt: skip
MARKS = "/-_.?=&#+~"


def _addresses(count: int) -> list[str]:
    draw = random.Random(4)
    made = [
        "https://mixed.net/page?id=7",
        "http://fine.com/one",
        "https://fine.com/one",
        "not an address",
        "//spam.org",
    ]
    while len(made) < count:
        tail = "".join(draw.choice(MARKS) + draw.choice(PARTS) for _ in range(draw.randrange(5)))
        made.append(f"{draw.choice(['http', 'https', 'ftp'])}://{draw.choice(HOSTS)}/{tail}".removesuffix("/"))
    return made


def _ours(addresses: list[str | None], **params: Any) -> list[str | None]:
    batch = pa.record_batch(
        {"text": pa.array([""] * len(addresses), pa.large_string()), "url": pa.array(addresses, pa.string())}
    )
    reasons = judge(batch, chain([{"url": {"shipped_lists": False, **params}}])).reasons
    return reasons.str.strip_prefix("url.").to_list()


def _theirs(addresses: list[str], soft_word_threshold: int = 2) -> list[str | None]:
    from datatrove.data import Document
    from datatrove.pipeline.filters import URLFilter
    from tldextract import TLDExtract

    peer = URLFilter(
        soft_word_threshold,
        LISTS["domains"],
        LISTS["urls"],
        LISTS["words"],
        LISTS["subwords"],
        LISTS["soft_words"],
        use_integrated_lists=False,
    )
    peer.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)  # no network
    said = [peer.filter(Document("", "0", metadata={"url": address})) for address in addresses]
    return [verdict[1] if isinstance(verdict, tuple) else None for verdict in said]


@pytest.mark.filterwarnings("ignore:The 'registered_domain':DeprecationWarning")  # datatrove's use of tldextract
@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_same_decision_and_reason(threshold: int) -> None:
    addresses = _addresses(4000)
    theirs = _theirs(addresses, threshold)
    assert len(set(theirs)) == 7, "every reason, and documents that stay, must occur"
    ours = _ours([*addresses], **LISTS, soft_word_threshold=threshold)
    assert [(a, o, t) for a, o, t in zip(addresses, ours, theirs, strict=True) if o != t] == []


@pytest.mark.filterwarnings("ignore:The 'registered_domain':DeprecationWarning")
def test_case_is_no_way_around_a_list() -> None:
    """datatrove compares host names and words as they are written: capitals pass its lists. Here they do not."""
    addresses = ["https://SPAM.org/", "https://fine.com/CASINO/", "https://fine.com/Win/Bonus"]
    assert _theirs(addresses) == [None, None, None]
    assert _ours([*addresses], **LISTS) == ["domain", "hard_blacklisted", "soft_blacklisted"]


def test_a_document_without_an_address_stays() -> None:
    assert _ours([None, "https://spam.org"], **LISTS) == [None, "domain"]
    batch = pa.record_batch({"text": pa.array(["no such column"], pa.large_string())})
    assert judge(batch, chain([{"url": {"shipped_lists": False, **LISTS}}])).reasons.to_list() == [None]


def test_a_list_that_is_a_web_page_or_empty_is_refused(tmp_path: Any) -> None:
    page, empty, missing = tmp_path / "page.txt", tmp_path / "empty.txt", tmp_path / "missing.txt"
    page.write_text("\n\n<!DOCTYPE html>\n<html><body>404</body></html>\n")
    empty.write_text("# only a comment\n\n")
    for path in (page, empty, missing):
        with pytest.raises((InputError, RecipeError), match=path.name):
            _ours(["https://fine.com/"], domains=str(path))


def test_a_list_file_is_the_list(tmp_path: Any) -> None:
    listed = tmp_path / "domains.txt"
    listed.write_text("# ours\r\n" + "\r\n".join(LISTS["domains"]) + "\r\n")
    addresses = _addresses(400)
    assert _ours([*addresses], domains=str(listed)) == _ours([*addresses], domains=LISTS["domains"])
    assert pl.Series(_ours([*addresses], domains=str(listed))).drop_nulls().len() > 20
