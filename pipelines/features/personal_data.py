"""Detection and replacement of personal data in text columns.

All patterns have bounded length, so that time is linear in the length of any text. A linear regular expression of
polars selects the few rows on which the exact patterns run.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa


class Pattern(NamedTuple):
    """A pattern of personal data: `exact` runs on texts that match `hint`, and `valid` confirms its matches.

    If the match has a group `secret`, only that group is replaced.
    """

    kind: str
    hint: str  # regular expression of polars
    exact: re.Pattern[str]
    valid: Callable[[str], bool]
    stand_ins: tuple[str, ...]


KINDS = ("keys", "emails", "ips", "cards", "phones")
_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_GROUP = r"[0-9A-Fa-f]"
_ALLOCATED = ipaddress.ip_network("2000::/3")
_SEPARATOR = r"[ .\u00a0\u2011-]"
_BEGIN, _END = (rf"-----{word} (?:[A-Z]{{1,12}} ){{0,2}}PRIVATE KEY-----" for word in ("BEGIN", "END"))
_NAMED = (
    r"(?i:(?:api|access|secret|auth|private|client|account|encryption|signing)[ _.-]?(?:key|token|secret)"
    r"|secret|token|passw(?:or)?d|bearer|credentials?)"
)


def _address(match: str) -> bool:
    try:
        ipaddress.ip_address(match)
    except ValueError:
        return False
    return True


def _public(match: str) -> bool:
    """Return whether a match is a globally reachable address; for IPv6, only 2000::/3 is allocated."""
    if not _address(match):
        return False
    address = ipaddress.ip_address(match)
    return address.is_global and (address.version == 4 or address in _ALLOCATED)


def _luhn(number: str) -> bool:
    """Return whether a match has 13 to 19 digits, an issuer's first digit and a valid check digit (ISO/IEC 7812)."""
    digits = [int(c) for c in number if c.isdigit()]
    if not 13 <= len(digits) <= 19 or digits[0] not in (3, 4, 5, 6) or len(set(digits)) == 1:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _dialled(number: str) -> bool:
    """Return whether a match has the number of digits of a telephone number (ITU E.164)."""
    return 9 <= sum(c.isdigit() for c in number) <= 15


def _random(secret: str) -> bool:
    """Return whether a string has the character mixture of a random key rather than of a long identifier."""
    digits = sum(c.isdigit() for c in secret)
    mixed = any(c.islower() for c in secret) and any(c.isupper() for c in secret)
    return len(set(secret)) > 6 and (digits > 0 if mixed else digits > 3 and secret.isalnum() and not secret.isdigit())


def _always(_: str) -> bool:
    return True


PATTERNS = (
    Pattern(
        "keys",
        r"AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-|AIza|eyJ",
        re.compile(
            r"(?<![A-Za-z0-9])(?:A[KS]IA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}"
            r"|glpat-[A-Za-z0-9_-]{20,64}|hf_[A-Za-z0-9]{30,64}|sk-[A-Za-z0-9_-]{20,255}|xox[abprs]-[A-Za-z0-9-]{10,255}"
            r"|AIza[0-9A-Za-z_-]{35}|eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,2000})"
            r"(?![A-Za-z0-9])"
        ),
        _always,
        ("[key]",),
    ),
    Pattern(
        "keys",
        "PRIVATE KEY-----",
        # a truncated block without an end marker: replace its base64 lines as well
        re.compile(
            rf"{_BEGIN}(?:(?:[A-Za-z0-9+/=\s:,\\]|-(?!-)){{0,8000}}?{_END}|(?:\s{{0,2}}[A-Za-z0-9+/=]{{16,80}}){{0,200}})"
        ),
        _always,
        ("[key]",),
    ),
    Pattern(
        "keys",
        r"(?i)(?:key|token|secret|passwd|password|bearer|credentials?)[^A-Za-z0-9]{1,8}[A-Za-z0-9+/_-]{32}",
        re.compile(
            rf"{_NAMED}[\"']?(?:\s{{0,3}}(?::=|=>|[:=])\s{{0,3}}|\s)[\"']?(?:(?i:bearer|basic)\s)?"
            r"(?P<secret>[A-Za-z0-9+/_-]{32,512}={0,2})(?![A-Za-z0-9+/_-])"
        ),
        _random,
        ("[key]",),
    ),
    Pattern(
        "emails",
        "@",
        re.compile(
            rf"(?<![A-Za-z0-9_])[A-Za-z0-9_]{_LOCAL}{{0,63}}(?:\.{_LOCAL}{{1,64}}){{0,8}}"
            rf"@(?:(?:{_LABEL}\.){{1,8}}{_LABEL}|\[[0-9A-Fa-f:.]{{2,45}}\])"
        ),
        _always,
        ("email@example.com", "firstname.lastname@example.org"),
    ),
    Pattern(
        "ips",
        r"\d\.\d{1,3}\.\d{1,3}\.\d",
        re.compile(rf"(?<![\d.])(?:{_BYTE}\.){{3}}{_BYTE}(?![\d.]*\d)"),
        _public,
        ("22.214.171.124", "126.96.36.199", "188.8.131.52", "184.108.40.206", "220.127.116.11", "18.104.22.168"),
    ),
    Pattern(
        "ips",
        r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:",
        # at least two leading groups, or the prefix of all public addresses: `a::b` is an identifier in code
        re.compile(
            rf"(?<![0-9A-Za-z:.])(?:[23]{_GROUP}{{3}}:|{_GROUP}{{1,4}}:{_GROUP}{{1,4}}:)(?:{_GROUP}{{0,4}}:){{1,6}}"
            rf"{_GROUP}{{0,4}}(?![0-9A-Za-z:]|\.\d)"
        ),
        _public,
        ("2001:db8::1", "2001:db8::2"),
    ),
    Pattern(
        "cards",
        r"\d{4}[ -]?\d",
        re.compile(r"(?<![\w.+-])\d(?:[ -]?\d){12,18}(?![\w-]*\w)"),
        _luhn,
        ("0000 0000 0000 0000",),
    ),
    Pattern(
        "phones",
        r"\+\d|\d{3}[). -]",
        re.compile(
            rf"(?<![\w+.-])\+[1-9]\d{{0,2}}{_SEPARATOR}?(?:\(\d{{1,4}}\){_SEPARATOR}?)?\d{{1,5}}"
            rf"(?:{_SEPARATOR}?\d{{2,5}}){{1,4}}(?![\w-])"
            rf"|(?<![\w(.-])(?:\([2-9]\d{{2}}\) ?|[2-9]\d{{2}}[ .-])[2-9]\d{{2}}[ .-]\d{{4}}(?![\w-])"
        ),
        _dialled,
        ("+1 555 0100",),
    ),
)


def count(text: pa.Array, public_ips: bool = True) -> pl.DataFrame:
    """Return one column `pii_<kind>` (u32) per kind with the number of matches."""
    series = _series(text)
    totals = {kind: [0] * len(series) for kind in KINDS}
    for pattern in patterns(KINDS, public_ips):
        for row, value in _candidates(series, pattern):
            totals[pattern.kind][row] += sum(1 for match in pattern.exact.finditer(value) if _valid(pattern, match))
    return pl.DataFrame({f"pii_{kind}": pl.Series(counts, dtype=pl.UInt32) for kind, counts in totals.items()})


def replace(
    text: pa.Array, kinds: Sequence[str], public_ips: bool = True, stand_ins: Mapping[str, Sequence[str]] | None = None
) -> tuple[pa.Array, dict[str, int]]:
    """Return the column with all matches of `kinds` replaced, and the number of replacements by kind.

    `stand_ins` (kind to strings) override the default replacements and are used in turn.
    """
    series = _series(text)
    totals: Counter[str] = Counter()
    for pattern in patterns(kinds, public_ips):
        replacements = tuple((stand_ins or {}).get(pattern.kind, ())) or pattern.stand_ins
        changed: dict[int, str] = {}
        for row, value in _candidates(series, pattern):
            new, number = _replaced(value, pattern, replacements)
            if number:
                changed[row] = new
                totals[pattern.kind] += number
        if changed:
            series = series.scatter(list(changed), list(changed.values()))
    return series.to_arrow().cast(pa.large_string()), dict(totals)


def patterns(kinds: Sequence[str], public_ips: bool) -> Iterator[Pattern]:
    """Yield the patterns of `kinds` in the order in which they are applied."""
    for pattern in PATTERNS:
        if pattern.kind in kinds:
            yield pattern if public_ips or pattern.kind != "ips" else pattern._replace(valid=_address)


def _valid(pattern: Pattern, match: re.Match[str]) -> bool:
    return pattern.valid(match["secret"] if "secret" in pattern.exact.groupindex else match.group())


def _replaced(value: str, pattern: Pattern, stand_ins: Sequence[str]) -> tuple[str, int]:
    replacements = itertools.cycle(stand_ins)
    group = "secret" if "secret" in pattern.exact.groupindex else 0
    number = 0

    def stand_in(match: re.Match[str]) -> str:
        nonlocal number
        if not _valid(pattern, match):
            return match.group()
        number += 1
        start, end = (place - match.start() for place in match.span(group))
        return match.group()[:start] + next(replacements) + match.group()[end:]

    return pattern.exact.sub(stand_in, value), number


def _series(text: pa.Array) -> pl.Series:
    return pl.Series("text", text.cast(pa.large_string())).fill_null("")


def _candidates(series: pl.Series, pattern: Pattern) -> list[tuple[int, str]]:
    rows = series.str.contains(pattern.hint).arg_true()
    return list(zip(rows.to_list(), series.gather(rows).to_list(), strict=True))
