"""Decoding of web pages: evidence in the bytes takes precedence over the declared encoding."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator
from functools import cache

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.I)
_XML = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{2,40})", re.I)
_MARKUP = re.compile(rb"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.I | re.S)
_ISO_2022_JP = re.compile(rb"\x1b\$[@B]")
_HEAD_BYTES = 4096
_SAMPLE_BYTES = 40_000
_WORD = re.compile(r"(?<![^\W\d_])[^\W\d_]*[^\x00-\x7f][\w\x80-\xbf]*")
# Supersets of the two-byte encodings, and the script that is characteristic of each.
_EAST_ASIAN = {"cp932": "kana", "euc_jp": "kana", "gb18030": "han", "big5": "han", "cp949": "hangul"}
_KANA, _HANGUL, _HAN = (re.compile(f"[{r}]") for r in ("\u3041-\u30ff", "\uac00-\ud7a3", "\u3400-\u9fff"))
_LATIN = "cp1252"
# Bonus in plausibility of the encodings named by the page, the server or the detector. A declared windows-1252 gets
# less, because it is a common default of servers.
_DECLARED, _DECLARED_LATIN, _DETECTED = 0.05, 0.02, 0.03


def decode_page(data: bytes, declared: str | None = None) -> tuple[str, str]:
    """Return (text, encoding) of a page; `declared` is the charset of the HTTP header.

    A byte order mark takes precedence, then valid UTF-8, whatever is declared, because text in another encoding is
    rarely valid UTF-8. Otherwise the most plausible text among the declared, the detected (uchardet) and the East Asian
    encodings is chosen. Invalid bytes become U+FFFD. Never raises.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace"), name
    if name := _utf_16(data):
        return data.decode(name, "replace"), name
    if data.isascii() and _ISO_2022_JP.search(data) and (text := _strict(data, "iso2022_jp")) is not None:
        return text, "iso2022_jp"
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    if sum(character > "\x7f" for character in text) > 10 * bad:
        return text, "utf-8"  # a few invalid characters in UTF-8 text
    return _best(data, list(_named(data, declared)))


def plausibility(text: str) -> float:
    """Return the share of words with non-ASCII characters that are plausible words of one script, 0 to 1.

    Implausible are control and private characters, symbols between letters, two scripts in one word, a capital after a
    lower-case letter, and Chinese characters and Hangul syllables outside the common sets.
    """
    words = _WORD.findall(text)
    if not words:
        return 1.0
    total = sum(map(len, words))
    return sum(_written(word) * len(word) for word in words) / total


def _expected(text: str, encoding: str) -> float:
    """Return how well the scripts of a text match the language of the encoding, 0 to 1.1.

    Kana or Hangul do not result from decoding with a wrong encoding, so they score higher than Chinese characters,
    which do.
    """
    if encoding not in _EAST_ASIAN:
        return 1.0
    counts = {name: len(script.findall(text)) for name, script in (("kana", _KANA), ("hangul", _HANGUL), ("han", _HAN))}
    share = counts[_EAST_ASIAN[encoding]] / max(1, sum(counts.values()))
    return {"kana": 1.1 * min(1.0, 5 * share), "hangul": 1.1 * share, "han": share}[_EAST_ASIAN[encoding]]


def _utf_16(data: bytes) -> str | None:
    """Return the UTF-16 variant if every other byte of the markup is zero and the data is valid."""
    head = data[: _HEAD_BYTES & ~1]
    if len(data) % 2 or len(head) < 16 or b"\x00" not in head:
        return None
    zeros = (head[::2].count(0), head[1::2].count(0))
    if max(zeros) < 0.05 * len(head) / 2 or min(zeros) > 0.02 * max(zeros):
        return None
    name = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return name if _strict(data, name) is not None else None


def _named(data: bytes, declared: str | None) -> Iterator[str]:
    """Yield the encodings named by header, XML declaration and meta element, resolved as browsers do."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    head = data[:_HEAD_BYTES]
    in_page = (match[1].decode("ascii", "replace") for match in (_XML.search(head), _META.search(head)) if match)
    for name in (declared, *in_page):
        known = _known(map_encoding_to_html5(name, False)) if name else None
        if known and known not in ("utf-8", "utf-16-le", "utf-16-be"):  # excluded by the previous checks
            yield known


def _best(data: bytes, named: list[str]) -> tuple[str, str]:
    from resiliparse.parse.encoding import detect_encoding

    visible = _MARKUP.sub(b" ", data[: 8 * _SAMPLE_BYTES])[:_SAMPLE_BYTES]
    detected = _known(detect_encoding(visible)) or _LATIN
    trust = {detected: _DETECTED, _LATIN: 0.0}
    for name in (*_EAST_ASIAN, *(["koi8-u"] if "koi8-r" in (detected, *named) else [])):
        trust.setdefault(name, 0.0)
    for name in named:
        trust[name] = trust.get(name, 0.0) + (_DECLARED_LATIN if name == _LATIN else _DECLARED)
    scores = {}
    for name, bonus in trust.items():
        if _strict(data, name) is not None:
            text = visible.decode(name, "ignore")
            scores[name] = bonus + plausibility(text) * _expected(text, name)
    if not scores:
        name = named[0] if named else detected
        return data.decode(name, "replace"), name
    name = max(scores, key=lambda name: scores[name])
    return data.decode(name), name


@cache
def _known(name: str | None) -> str | None:
    """Return Python's name of a text encoding, or of the superset that browsers use; None if unknown."""
    try:
        codec = codecs.lookup(name or "")
        b"".decode(codec.name)
    except (LookupError, ValueError):
        return None
    wider = {"shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949", "iso8859-1": _LATIN}
    return wider.get(codec.name, codec.name)


def _strict(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        return None


def _written(word: str) -> float:
    """Return the plausibility of a word: 0, or the share of common characters among its letters of one script."""
    scripts = set()
    common = letters = 0
    before = ""
    for character in word:
        kind = unicodedata.category(character)
        if kind[0] in "CSN" or character == "\ufffd":
            return 0.0
        if kind == "Lu" and before == "Ll":
            return 0.0
        if kind[0] == "L":
            scripts.add(_script(character))
            letters += 1
            common += character < "\u2e80" or character in _common()
        before = kind
    return common / letters if len(scripts) == 1 else 0.0


@cache
def _common() -> frozenset[str]:
    """Return the most frequent East Asian characters: kana, and the first levels of the national standards."""
    characters = {chr(code) for code in (*range(0x3041, 0x3100), 0x3005, 0x30FC)}
    levels = (("gb2312", 0xB0, 0xD7), ("euc_jp", 0xB0, 0xCF), ("euc_kr", 0xB0, 0xC8))
    for name, first, last in levels:  # GB 2312 level 1, JIS X 0208 level 1, the Hangul of KS X 1001
        for row in range(first, last + 1):
            for cell in range(0xA1, 0xFF):
                characters.update(bytes((row, cell)).decode(name, "ignore"))
    for lead in range(0xA4, 0xC7):  # Big5's frequent characters
        for trail in (*range(0x40, 0x7F), *range(0xA1, 0xFF)):
            characters.update(bytes((lead, trail)).decode("big5", "ignore"))
    return frozenset(characters)


@cache
def _script(character: str) -> str:
    """Return the script by the first word of the character's name; Han and kana count as one script."""
    name = unicodedata.name(character, "").partition(" ")[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC") else name
