"""The Unicode table of the fast word rule for deduplication: the class and the normalised form of every character.

One u32 per code point. The top three bits are its class, bit 28 says that its form has several characters, and the low
21 bits are its form, or the index of its form in the expansion array (each entry ends with 0).

Normalisation follows datatrove's TextNormConfig: lower case, numbers as a single 0, punctuation as a space, canonical
decomposition without non-spacing marks. A word is a run of letters, digits and spacing marks. In scripts written
without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) every character is a word, and so is every non-ASCII symbol and
bullet: without them, lists of short items share fewer n-grams with their edited copies, which lowers MinHash recall.

If the table changes, increase `FOLDING` and the `version` of the steps that use it.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from pydantic import BaseModel, ConfigDict

SEPARATOR, WORD, DIGIT, SKIP, ALONE = 0, 1, 2, 3, 4
CLASS_SHIFT = 29
SEVERAL = 1 << 28
VALUE_MASK = (1 << 21) - 1
CODE_POINTS = 0x110000
FOLDING = 2  # version of the table; indexes of other versions are rejected
BULLETS = frozenset("•‣⁃")  # of a punctuation category
DECIMAL_MARKS = ".,،٫"  # between digits, joins two runs into one number

_NO_SPACES = [
    (0x0E00, 0x0F00), (0x1000, 0x10A0), (0x1780, 0x1800), (0x3040, 0x3100), (0x31F0, 0x3200), (0xA9E0, 0xAA00),
    (0xAA60, 0xAA80), (0xF900, 0xFB00), (0xFF66, 0xFFA0), (0x2F800, 0x2FA20),
]  # fmt: skip
_IDEOGRAPHS = [(0x3400, 0x4DC0), (0x4E00, 0xA000), (0x17000, 0x18D00), (0x20000, 0x2F800), (0x30000, 0x323B0)]
_OTHERS = [(0, 0x3400), (0x4DC0, 0x4E00), (0xA000, 0xD800), (0xF900, 0x17000), (0x18D00, 0x20000), (0x2F800, 0x2FA20),
           (0xE0000, 0xE0200)]  # fmt: skip
# other code points are unassigned or private and separate words


class Normalisation(BaseModel):
    """Normalisation before comparison; white space is always normalised."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lowercase: bool = True
    numbers: bool = True
    punctuation: bool = True  # False: every punctuation character is a word
    diacritics: bool = True


def table(how: Normalisation | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (table u32[0x110000], expansions u32); takes about 0.1 s the first time."""
    return _table((how or Normalisation()).model_dump_json())


@lru_cache(maxsize=4)
def _table(normalisation: str) -> tuple[np.ndarray, np.ndarray]:
    how = Normalisation.model_validate_json(normalisation)
    folds = np.zeros(CODE_POINTS, np.uint32)
    for low, high in _IDEOGRAPHS:  # each is a word, without case or decomposition
        folds[low:high] = np.arange(low, high, dtype=np.uint32) | ALONE << CLASS_SHIFT
    expansions: list[int] = [0]
    for code in (code for low, high in _OTHERS for code in range(low, high)):
        kind = _kind(code, how)
        if kind in (SEPARATOR, SKIP):
            folds[code] = kind << CLASS_SHIFT
            continue
        becomes = (ord("0"),) if kind == DIGIT else _becomes(chr(code), how)
        if len(becomes) == 1:
            folds[code] = kind << CLASS_SHIFT | becomes[0]
        else:
            folds[code] = kind << CLASS_SHIFT | SEVERAL | len(expansions)
            expansions.extend((*becomes, 0))
    return folds, np.array(expansions, np.uint32)


def _kind(code: int, how: Normalisation) -> int:
    category = unicodedata.category(chr(code))
    if category == "Nd":
        return DIGIT if how.numbers else WORD
    if category in ("Mn", "Me", "Cf"):
        return SKIP if how.diacritics or category == "Cf" else WORD
    if category[0] in "LN" or category == "Mc":
        return ALONE if any(low <= code < high for low, high in _NO_SPACES) else WORD
    if category[0] in "PS" and not how.punctuation:
        return ALONE
    if (category[0] == "S" and code > 0x7F) or chr(code) in BULLETS:
        return ALONE
    return SEPARATOR


def _becomes(text: str, how: Normalisation) -> tuple[int, ...]:
    if how.lowercase:
        text = text.lower()
    if how.diacritics:
        text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) not in ("Mn", "Me"))
    return tuple(map(ord, text))
