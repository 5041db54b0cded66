"""Character classes as bits of a two-stage table over code points.

The table follows the Unicode version of the running Python and agrees exactly with `str.isspace`, `str.isalpha` and
`str.splitlines`. Sets that published rules enumerate are given as hexadecimal ranges.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cache

import numpy as np

# Four classes are counted: their bits are 16 apart, so that adding `class & COUNTED` counts all four at once.
ALPHA = np.uint64(1 << 0)  # str.isalpha
UPPER = np.uint64(1 << 16)  # str.isupper for one character
NUMERIC = np.uint64(1 << 32)  # str.isnumeric
SYMBOLIC = np.uint64(1 << 48)  # Unicode categories P* and S*
COUNTED = ALPHA | UPPER | NUMERIC | SYMBOLIC

SPACE = np.uint64(1 << 1)  # str.isspace
SYMBOL = np.uint64(1 << 2)  # a word of symbols only is not a word for the Gopher rules
TERMINAL = np.uint64(1 << 3)  # ends a line for FineWeb's rule
SENTENCE_END = np.uint64(1 << 4)  # ends a sentence
PUNCTUATION = np.uint64(1 << 5)  # Unicode category P*
BREAK = np.uint64(1 << 6)  # str.splitlines breaks here
BRACE = np.uint64(1 << 7)  # {
BRACKET = np.uint64(1 << 8)  # [
LETTER_J = np.uint64(1 << 9)  # j J, which begin "javascript"
STARTER = np.uint64(1 << 10)  # c i p u in either case, which begin the last word of C4's phrases
EASY_END = np.uint64(1 << 11)  # after a word of letters, always a separate word
MARK = np.uint64(1 << 12)  # Unicode category M*
DECIMAL = np.uint64(1 << 13)  # str.isdecimal, \\d in regular expressions
DIGIT = np.uint64(1 << 14)  # 0-9
DOTTED = np.uint64(1 << 15)  # . and …
# English word rule (classes as in spaCy's char_classes.py, MIT)
PREFIX = np.uint64(1 << 17)  # split off the beginning of a word
SUFFIX = np.uint64(1 << 18)  # split off the end of a word
ICON = np.uint64(1 << 19)  # splits a word at any position: other symbols and the ellipsis
CASED_LOWER = np.uint64(1 << 20)  # lower or without case
CASED_UPPER = np.uint64(1 << 21)  # upper or without case
WORD_ALPHA = np.uint64(1 << 22)  # either, or title case
QUOTE = np.uint64(1 << 23)
BEFORE_DOT = np.uint64(1 << 24)  # a final full stop after one of these is a separate word
# scripts written without spaces between words
HAN = np.uint64(1 << 25)
KANA = np.uint64(1 << 26)
BRAHMIC = np.uint64(1 << 27)  # Thai, Lao, Khmer, Burmese

UNSPACED = HAN | KANA | BRAHMIC

_SYMBOLS = (
    "0-8 b-1f 21-2f 3a-40 5b-60 7b-9f ab b4 bb 2013-2014 2019 201c-201e 2026 2236 2501 25ba 3001-3002 3008-300d "
    "3010-3011 ff01 ff05 ff08-ff09 ff0c ff0e ff11 ff1a-ff1b ff1f ff5e"
)
_SENTENCE_END = (
    "21 2e 3f 589 61f 6d4 700-702 7f9 964-965 104a-104b 1362 1367-1368 166e 1735-1736 1803 1809 1944-1945 1aa8-1aab "
    "1b5a-1b5b 1b5e-1b5f 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e 2e3c 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 "
    "a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 11047-11048 "
    "110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 "
    "115c9-115d7 11641-11642 1173c-1173e 11a42-11a43 11a9b-11a9c 11c41-11c42 16a6e-16a6f 16af5 16b37-16b38 16b44 "
    "1bc9f 1da88"
)
_TERMINAL_ONLY = (
    "61d-61e 837 839 83d-83e 17d4-17d6 17d9-17da 1b7d-1b7e 2e53-2e54 10f55-10f59 10f86-10f89 11944 11946 "
    "11ef7-11ef8 11f43-11f44 16e98"
)
_UNCASED = (
    "591-5f4 620-64a 66e-6d5 6e5-6ff 750-77f 8a0-8bd 900-9ff b80-cff d80-dff 1100-137f 2e80-2fdf 2ff0-30ff 31c0-31ef "
    "3200-4dbf 4e00-9fff ac00-d7af f900-faff fb1d-fbb1 fbd3-fd3d fd50-fdc7 fdf0-fdfb fe30-fe4f fe70-fefc 1ee00-1eebb "
    "1f200-1f2ff 20000-2a6df 2a700-2ebef 2f800-2fa1f"
)
_CASED = (
    "41-5a 61-7a c0-2af 386-38f 391-3a9 3ac-3af 3b1-3c9 3cc-3ce 400-45d 490-491 496-497 4a2-4a3 4ae-4af 4ba-4bb "
    "4d8-4d9 4e8-4e9 1d00-1d25 1d6b-1d77 1d79-1d9a 1e00-1eff 2c60-2c7b 2c7e-2c7f a722-a76f a771-a787 a78b-a78e "
    "a790-a7b9 a7fa ab30-ab5a ab60-ab64 ff21-ff3a ff41-ff5a"
)
_CASED_EXCEPT = "402 40b 40e 40f 452 45b"
_CURRENCY = "24 a3 a5 e3f 20a0-20bf fdfc"
_QUOTES = "22 27 2c 60 ab b4 bb 2018-201a 201c-201e 2329-232a 27e6-27e7 3008-3011 3014-3015 ff08-ff09"
_AFFIXES = (
    "21-23 26-2a 2c 3a-3c 3e-3f 5b 5d 5f-60 7b 7d a1 ab b4 b7 bb bf 60c 61b 61f 66a 6d4 964 2013-2014 2018-201a "
    "201c-201e 2026 2329-232a 27e6-27e7 3001-3002 3008-3011 3014-3015 ff01 ff08-ff09 ff0c ff1a-ff1b ff1f ff5e"
)
_PREFIX_ONLY = "25 2b 3d a7"
_BEFORE_DOT = (
    "21-23 25-2d 30-3c 3e-3f 5b 5d 5f-60 7b-7d a1 ab b2 b4 b7 bb bf 60c 61b 61f 66a 2018-201a 201c-201e 2026 "
    "2329-232a 27e6-27e7 ff01 ff08-ff09 ff0c ff1a-ff1b ff1f ff5e"
)
_YOUNG_ICONS = (  # other symbols, newer than the published rule
    "166d 2b97 2bc9 2bff 2e50-2e51 32ff fd40-fd4f fdcf fdfe-fdff 1019c 11fd5-11fdc 11fe1-11ff1 1cf50-1cfc3 "
    "1d1e9-1d1ea 1e14f 1ed2e 1f10d-1f10f 1f16c-1f16f 1f1ad 1f6d5-1f6df 1f6fa-1f6ff 1f774-1f77f 1f7d9-1f7ff "
    "1f8b0-1f8ff 1f90c-1f90f 1f93f 1f971-1f972 1f977-1f979 1f97b 1f9a3-1f9af 1f9ba-1f9bf 1f9c3-1f9cf 1fa00-1fa5f "
    "1fa6e-1fbff"
)
_HAN = "2e80-2fdf 3005 3007 3021-3029 3038-303b 3400-4dbf 4e00-9fff f900-faff 20000-323af"
_KANA = "3041-3096 3099-309f 30a1-30fa 30fc-30ff 31f0-31ff ff66-ff9f 1b000-1b16f"
_BRAHMIC = "e01-e3a e40-e4e e81-eda edc-edf 1000-102a 102b-103f 1050-109d 1780-17d3 17d7 17dc-17dd a9e0-a9ef aa60-aa7f"
_ASSIGNED = (range(0x33480), range(0xE0000, 0xE0200))  # other assigned code points are private use, which has no class
_BREAKS = "a-d 1c-1e 85 2028-2029"


def ranges(text: str) -> np.ndarray:
    """Return the code points of hexadecimal ranges such as `21 2e-2f`."""
    parts = [part.partition("-") for part in text.split()]
    return np.concatenate([np.arange(int(a, 16), int(b or a, 16) + 1) for a, _, b in parts])


@cache
def table() -> tuple[np.ndarray, np.ndarray]:
    """Return (pages u16[0x1100], classes u64[pages x 256]): the class of c is `classes[pages[c >> 8] << 8 | c & 255]`.

    The first page is page 0, so `classes[c]` serves ASCII directly.
    """
    flat = np.zeros(sys.maxunicode + 1, dtype=np.uint64)
    for part in _ASSIGNED:
        flat[part.start : part.stop] = _properties(part)
    for bits, text in (
        (SYMBOL, _SYMBOLS),
        (SYMBOL | TERMINAL | SENTENCE_END, _SENTENCE_END),
        (SYMBOL | TERMINAL, _TERMINAL_ONLY),
        (BREAK, _BREAKS),
        (DIGIT, "30-39"),
        (PREFIX | SUFFIX, _AFFIXES),
        (PREFIX, _PREFIX_ONLY),
        (PREFIX, _CURRENCY),
        (CASED_LOWER | CASED_UPPER | WORD_ALPHA, _UNCASED),
        (CASED_LOWER | WORD_ALPHA, "294"),
        (WORD_ALPHA, "1bb"),
        (QUOTE, _QUOTES),
        (BEFORE_DOT, _BEFORE_DOT),
        (ICON, "2026"),
        (HAN, _HAN),
        (KANA, _KANA),
        (BRAHMIC, _BRAHMIC),
        (BRACE, "7b"),
        (BRACKET, "5b"),
        (LETTER_J, "4a 6a"),
        (DOTTED, "2e 2026"),
        (STARTER, "43 49 50 55 63 69 70 75"),
        (EASY_END, "21 29 2c 3a 3b 3f 5d 7d"),
    ):
        flat[ranges(text)] |= bits
    _add_case(flat)
    return _two_stages(flat)


def _properties(codes: range) -> np.ndarray:
    chars = list(map(chr, codes))
    category = np.array(list(map(unicodedata.category, chars)))
    kind = category.astype("U1")
    found = np.zeros(len(chars), dtype=np.uint64)
    for bits, holds in (
        (SPACE, list(map(str.isspace, chars))),
        (ALPHA, list(map(str.isalpha, chars))),
        (UPPER, list(map(str.isupper, chars))),
        (NUMERIC, list(map(str.isnumeric, chars))),
        (DECIMAL, list(map(str.isdecimal, chars))),
        (PUNCTUATION, kind == "P"),
        (SYMBOLIC, (kind == "P") | (kind == "S")),
        (MARK, kind == "M"),
        (PREFIX | SUFFIX | ICON, category == "So"),
    ):
        found[holds] |= bits
    return found


def _add_case(flat: np.ndarray) -> None:
    flat[ranges(_YOUNG_ICONS)] &= ~(PREFIX | SUFFIX | ICON)
    known = np.setdiff1d(ranges(_CASED), ranges(_CASED_EXCEPT))
    by_category = {"Ll": CASED_LOWER | WORD_ALPHA, "Lu": CASED_UPPER | WORD_ALPHA, "Lt": WORD_ALPHA}
    for code in known.tolist():
        flat[code] |= by_category.get(unicodedata.category(chr(code)), np.uint64(0))
    lower = (flat & CASED_LOWER) != 0
    flat[lower] |= BEFORE_DOT


def _two_stages(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    blocks = flat.reshape(-1, 256)
    numbers: dict[bytes, int] = {}
    pages = np.empty(len(blocks), dtype=np.uint16)
    for index, block in enumerate(blocks):
        pages[index] = numbers.setdefault(block.tobytes(), len(numbers))
    classes = np.frombuffer(b"".join(numbers), dtype=np.uint64).copy()
    return pages, classes
