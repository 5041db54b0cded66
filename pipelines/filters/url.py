"""Block lists of domains, hosts and addresses, and words in the address itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from windtunnel.pipelines.filters._rule import Example, Reason, Rule, when
from windtunnel.pipelines.filters._word_list import entries, files_of

_KEPT = {"shipped_lists": False, "domains": ["example.org"], "words": ["casino"], "soft_words": ["win", "bonus"]}


class Url(Rule):
    """Drop documents whose address is on a list or speaks for itself; asked in datatrove's order.

    Source: the URL filter of RefinedWeb (Penedo et al. 2023), as in datatrove's URLFilter. A list is a sequence or a
    file with one entry a line. `domains` hold registered domains and full host names, `urls` whole addresses, `words`
    words of the address (between characters that are no letters and digits), `subwords` strings anywhere in its letters
    and digits, `soft_words` words of which `soft_word_threshold` must occur. Case does not count in words.
    `shipped_lists` adds the lists that come with datatrove (4.6 M entries: 37 MB resident, 8 bytes each). Documents
    without an address stay unless `required`.
    """

    version: ClassVar[int] = 2
    domains: str | tuple[str, ...] = ()
    urls: str | tuple[str, ...] = ()
    words: str | tuple[str, ...] = ()
    subwords: str | tuple[str, ...] = ()
    soft_words: str | tuple[str, ...] = ()
    soft_word_threshold: int = 2
    shipped_lists: bool = True
    required: bool = False

    keeps: ClassVar[tuple[Example, ...]] = (
        Example("", url="https://fine.example.com/winter/", params=_KEPT),
        Example("", url="https://a.example.com/win/", params=_KEPT),
        Example("", url=None, params=_KEPT),
        Example("", url="not an address [", params=_KEPT),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example("", "domain", "https://www.example.org/x", _KEPT),
        Example("", "subdomain", "https://www.worse.co.uk/x", {**_KEPT, "domains": ["www.worse.co.uk"]}),
        Example("", "url", "https://a.example.com/1", {**_KEPT, "urls": ["https://a.example.com/1"]}),
        Example("", "hard_blacklisted", "https://a.example.com/best-Casino/", _KEPT),
        Example("", "soft_blacklisted", "https://a.example.com/win-bonus/", _KEPT),
        Example("", "blacklisted_subword", "https://xx-ca.sino.example.com/", {**_KEPT, "subwords": ["casino"]}),
        Example("", "no_url", None, {**_KEPT, "required": True}),
        Example("", "no_url", "", {**_KEPT, "required": True}),
    )

    def reads(self) -> list[Path]:
        return files_of(self.domains, self.urls, self.words, self.subwords, self.soft_words)

    def measure_config(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"soft_word_threshold", "required"})

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        if "url" not in batch.schema.names:
            return pl.DataFrame({name: [None] * batch.num_rows for name in COLUMNS}, schema=COLUMNS)
        urls = pl.Series("url", batch.column("url").cast(pa.string())).replace("", None)  # as CSV files write none
        listed = self.model_dump(exclude={"soft_word_threshold", "required"})
        lists = _lists(tuple(sorted(listed.items())))
        hosts = pl.DataFrame([_host_and_domain(url) for url in urls.to_list()], schema=["host", "domain"], orient="row")
        lower = urls.str.to_lowercase()
        words = lower.str.replace_all("[^a-z0-9]+", " ").str.split(" ").list.unique()
        letters = lower.str.replace_all("[^a-z0-9]+", "")
        return pl.DataFrame(
            {
                "url_domain_listed": _listed(hosts["domain"], lists.domains, urls),
                "url_host_listed": _listed(hosts["host"], lists.domains, urls),
                "url_listed": _listed(urls, lists.urls, urls),
                "url_words": _count(words, lists.words),
                "url_soft_words": _count(words, lists.soft_words),
                "url_subwords": letters.str.contains_any(lists.subwords) if lists.subwords else letters == "no list",
            }
        )

    def reasons(self) -> list[Reason]:
        unknown = when("no_url", pl.col("url_listed").is_null()) if self.required else []
        soft = pl.col("url_soft_words")
        return [
            *unknown,
            *when("domain", pl.col("url_domain_listed")),
            *when("subdomain", pl.col("url_host_listed")),
            *when("url", pl.col("url_listed")),
            *when("hard_blacklisted", pl.col("url_words") > 0, pl.col("url_words")),
            Reason("soft_blacklisted", soft >= self.soft_word_threshold, soft, self.soft_word_threshold, "above"),
            *when("blacklisted_subword", pl.col("url_subwords")),
        ]


COLUMNS = {
    "url_domain_listed": pl.Boolean,
    "url_host_listed": pl.Boolean,
    "url_listed": pl.Boolean,
    "url_words": pl.UInt32,
    "url_soft_words": pl.UInt32,
    "url_subwords": pl.Boolean,
}


_PART = 4 << 20  # bytes of a shipped list read at once


class _Lists(NamedTuple):
    domains: np.ndarray  # sorted 64-bit hashes
    urls: np.ndarray
    words: list[str]
    soft_words: list[str]
    subwords: list[str]


@cache
def _lists(fields: tuple[tuple[str, Any], ...]) -> _Lists:
    given = dict(fields)
    domains, urls = ([_hashes(entries(given[name]))] for name in ("domains", "urls"))
    words, soft, sub = (entries(given[name]) for name in ("words", "soft_words", "subwords"))
    if given["shipped_lists"]:
        domains.append(_shipped_hashes("domains"))
        urls.append(_shipped_hashes("urls"))
        words, soft, sub = (
            own + entries(str(_assets() / f"{name}.txt"))
            for own, name in ((words, "banned_words"), (soft, "soft_banned_words"), (sub, "banned_subwords"))
        )
    return _Lists(_sorted(domains), _sorted(urls), _plain(words), _plain(soft), _plain(sub))


def _assets() -> Path:
    import datatrove

    return Path(str(datatrove.__file__)).parent / "assets"


def _shipped_hashes(name: str) -> np.ndarray:
    """Return the hashes of a list that comes with datatrove, read in parts: as text it is 124 MB."""
    import tarfile

    parts, rest = [], b""
    with tarfile.open(_assets() / "url_filterblacklistsv0_3_0.tar.gz", "r:gz") as archive:
        member = archive.extractfile(name)
        assert member is not None
        while block := member.read(_PART):
            whole, _, rest = (rest + block).rpartition(b"\n")
            parts.append(_hashes(_lines(whole)))
    parts.append(_hashes(_lines(rest)))
    return np.concatenate(parts)


def _lines(raw: bytes) -> pl.Series:
    return pl.Series([raw.decode("utf-8", "replace")]).str.split("\n").explode()


def _hashes(lines: Sequence[str] | pl.Series) -> np.ndarray:
    """Return a 64-bit hash of every entry that is not empty."""
    series = pl.Series("entry", lines, dtype=pl.String)
    return series.filter(series.str.len_bytes() > 0).hash(0).to_numpy()


def _sorted(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.sort(np.concatenate(parts))


def _plain(words: Sequence[str]) -> list[str]:
    plain = ("".join(c for c in word.lower() if c.isascii() and c.isalnum()) for word in words)
    return sorted({word for word in plain if word})


def _listed(values: pl.Series, hashes: np.ndarray, urls: pl.Series) -> pl.Series:
    """Return whether each value is on the list; null where there is no address."""
    digests = values.hash(0).to_numpy()
    places = np.searchsorted(hashes, digests)
    inside = places < len(hashes)
    hit = np.zeros(len(digests), dtype=bool)
    hit[inside] = hashes[places[inside]] == digests[inside]
    return pl.Series(pl.select(pl.when(urls.is_not_null()).then(pl.Series(hit) & values.is_not_null())).to_series())


def _count(words: pl.Series, listed: list[str]) -> pl.Series:
    if not listed:
        return pl.select(pl.when(words.is_not_null()).then(pl.lit(0, dtype=pl.UInt32))).to_series()
    return words.list.set_intersection(pl.Series([listed], dtype=pl.List(pl.String))).list.len()


def _host_and_domain(url: str | None) -> tuple[str | None, str | None]:
    if url is None:
        return None, None
    try:
        parts = _extractor()(url)
    except ValueError:  # an address that is none, such as one with an open bracket
        return None, None
    return parts.fqdn.lower() or None, parts.top_domain_under_public_suffix.lower() or None


@cache
def _extractor():
    from tldextract import TLDExtract

    return TLDExtract(suffix_list_urls=(), cache_dir=None)  # the list that comes with the package; no network
