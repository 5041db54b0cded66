"""The Unicode table behind the fast word rule: what a character is, and what it becomes before it is hashed.

One u32 a code point. Top three bits: its class. Bit 28: it becomes several characters. Low 21 bits: what it becomes,
or where its several characters lie in the expansion array (each list ends in 0).
Normalisation is that of datatrove's TextNormConfig: lower case, numbers to one 0, punctuation to a space, canonical
decomposition with the non-spacing marks taken off. The word rule is our own: a run of letters, digits and spacing marks
is a word; in scripts written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) every character is one, and so is
every symbol beyond ASCII and every bullet, which that normalisation leaves in the text too: taken out, lists of short
items share fewer n-grams with their edited copies, and MinHash finds fewer of them.

A table that comes out differently makes other keys: raise the `version` of the steps that read it, and `FOLDING`.
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
FOLDING = 2  # which table: indexes made with another one are refused
BULLETS = frozenset("•‣⁃")  # punctuation by their category
DECIMAL_MARKS = ".,،٫"  # between digits these join two runs into one number

_NO_SPACES = [
    (0x0E00, 0x0F00), (0x1000, 0x10A0), (0x1780, 0x1800), (0x3040, 0x3100), (0x31F0, 0x3200), (0xA9E0, 0xAA00),
    (0xAA60, 0xAA80), (0xF900, 0xFB00), (0xFF66, 0xFFA0), (0x2F800, 0x2FA20),
]  # fmt: skip
_IDEOGRAPHS = [(0x3400, 0x4DC0), (0x4E00, 0xA000), (0x17000, 0x18D00), (0x20000, 0x2F800), (0x30000, 0x323B0)]
_OTHERS = [(0, 0x3400), (0x4DC0, 0x4E00), (0xA000, 0xD800), (0xF900, 0x17000), (0x18D00, 0x20000), (0x2F800, 0x2FA20),
           (0xE0000, 0xE0200)]  # fmt: skip
# what lies in neither is unassigned or private, and separates words


class Normalisation(BaseModel):
    """What of the text is made equal before it is compared; white space always is."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lowercase: bool = True
    numbers: bool = True
    punctuation: bool = True  # False: every punctuation character is a word of its own
    diacritics: bool = True


def table(how: Normalisation | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (u32 of 0x110000 code points, u32 of expansions); takes about 0.1 s the first time."""
    return _table((how or Normalisation()).model_dump_json())


@lru_cache(maxsize=4)
def _table(normalisation: str) -> tuple[np.ndarray, np.ndarray]:
    how = Normalisation.model_validate_json(normalisation)
    folds = np.zeros(CODE_POINTS, np.uint32)
    for low, high in _IDEOGRAPHS:  # each a word, none with case or decomposition
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
