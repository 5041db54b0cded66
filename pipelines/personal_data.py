"""Finding and replacing personal data in text columns.

Every pattern is bounded in length, so that a hostile text costs time in proportion to its length. A cheap test on the
whole column (linear, in polars) picks the few rows that the exact patterns then look at.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa


class Pattern(NamedTuple):
    """How one kind of personal data is found: `hint` must match for `exact` to be tried; `valid` has the last word."""

    hint: str  # for polars' linear regular expressions
    exact: re.Pattern[str]
    valid: Callable[[str], bool]
    stand_ins: tuple[str, ...]


KINDS = ("emails", "ips", "phones", "cards", "keys")
_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_SEPARATOR = r"[ .\u00a0\u2011-]"


def _public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _luhn(number: str) -> bool:
    """Whether 13 to 19 digits of a card issuer's range have the right check digit (ISO/IEC 7812)."""
    digits = [int(c) for c in number if c.isdigit()]
    if not 13 <= len(digits) <= 19 or digits[0] not in (3, 4, 5, 6) or len(set(digits)) == 1:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _dialled(number: str) -> bool:
    """Whether a match has as many digits as a telephone number (ITU E.164)."""
    return 9 <= sum(c.isdigit() for c in number) <= 15


PATTERNS = {
    "emails": Pattern(
        "@",
        re.compile(rf"(?<![A-Za-z0-9]){_LOCAL}{{1,64}}(?:\.{_LOCAL}{{1,64}}){{0,8}}@(?:{_LABEL}\.){{1,8}}{_LABEL}"),
        lambda _: True,
        ("email@example.com", "firstname.lastname@example.org"),
    ),
    "ips": Pattern(
        r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:",
        re.compile(
            rf"(?<![\d.])(?:{_BYTE}\.){{3}}{_BYTE}(?![\d.]*\d)"
            r"|(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z:])"
        ),
        _public,
        ("22.214.171.124", "126.96.36.199", "188.8.131.52", "184.108.40.206", "220.127.116.11", "18.104.22.168"),
    ),
    "cards": Pattern(
        r"\d{4}[ -]?\d",
        re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-]*\d)"),
        _luhn,
        ("0000 0000 0000 0000",),
    ),
    "phones": Pattern(
        r"\+\d|\d{3}[). -]",
        re.compile(
            rf"(?<![\w+.-])\+[1-9]\d{{0,2}}{_SEPARATOR}?(?:\(\d{{1,4}}\){_SEPARATOR}?)?\d{{1,5}}"
            rf"(?:{_SEPARATOR}?\d{{2,5}}){{1,4}}(?![\w-])"
            rf"|(?<![\w(.-])(?:\([2-9]\d{{2}}\) ?|[2-9]\d{{2}}[ .-])[2-9]\d{{2}}[ .-]\d{{4}}(?![\w-])"
        ),
        _dialled,
        ("+1 555 0100",),
    ),
    "keys": Pattern(
        r"AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-|AIza|eyJ|PRIVATE KEY",
        re.compile(
            r"(?<![A-Za-z0-9])(?:A[KS]IA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}"
            r"|glpat-[A-Za-z0-9_-]{20,64}|hf_[A-Za-z0-9]{30,64}|sk-[A-Za-z0-9_-]{20,255}|xox[abprs]-[A-Za-z0-9-]{10,255}"
            r"|AIza[0-9A-Za-z_-]{35}|eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,2000})"
            r"(?![A-Za-z0-9])"
            r"|-----BEGIN (?:[A-Z]{1,12} ){0,2}PRIVATE KEY-----[A-Za-z0-9+/=\s:,-]{0,8000}?"
            r"-----END (?:[A-Z]{1,12} ){0,2}PRIVATE KEY-----"
        ),
        lambda _: True,
        ("[key]",),
    ),
}


def count(text: pa.Array) -> pl.DataFrame:
    """Return a column `pii_<kind>` (u32) for every kind."""
    series = _series(text)
    columns = {}
    for kind in KINDS:
        pattern = PATTERNS[kind]
        found = [0] * len(series)
        for row, value in _candidates(series, pattern):
            found[row] = sum(1 for match in pattern.exact.finditer(value) if pattern.valid(match.group()))
        columns[f"pii_{kind}"] = pl.Series(found, dtype=pl.UInt32)
    return pl.DataFrame(columns)


def replace(text: pa.Array, kinds: Sequence[str]) -> tuple[pa.Array, dict[str, int]]:
    """Return the column with all data of `kinds` replaced, and how many pieces of each kind there were."""
    series = _series(text)
    totals: Counter[str] = Counter()
    for kind in (kind for kind in KINDS if kind in kinds):
        changed: dict[int, str] = {}
        for row, value in _candidates(series, PATTERNS[kind]):
            new, found = _replaced(value, PATTERNS[kind])
            if found:
                changed[row] = new
                totals[kind] += found
        if changed:
            series = series.scatter(list(changed), list(changed.values()))
    return series.to_arrow().cast(pa.large_string()), dict(totals)


def _replaced(value: str, pattern: Pattern) -> tuple[str, int]:
    turns = itertools.cycle(pattern.stand_ins)
    found = 0

    def stand_in(match: re.Match[str]) -> str:
        nonlocal found
        if not pattern.valid(match.group()):
            return match.group()
        found += 1
        return next(turns)

    return pattern.exact.sub(stand_in, value), found


def _series(text: pa.Array) -> pl.Series:
    return pl.Series("text", text.cast(pa.large_string())).fill_null("")


def _candidates(series: pl.Series, pattern: Pattern) -> list[tuple[int, str]]:
    rows = series.str.contains(pattern.hint).arg_true()
    return list(zip(rows.to_list(), series.gather(rows).to_list(), strict=True))
