"""The tables of the word rule, each made once a process: character classes, exceptions, units, stop words.

`class_table` is one u64 array: 0x1100 page starts, then the pages; the first page is page 0, so that an ASCII byte's
class stands at `ASCII + byte`. `key_table` is one u64 array: a bit table that says which hashes may be exceptions, then
tables of (hash, value) pairs. Kernels take these as arguments: a global array would be frozen into the compiled cache.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from pipelines.kernels import classes as kinds
from pipelines.kernels.english import cut_into, special_words

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa "
    "mbar mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с км/ч "
    "кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ тбكم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ كم غرام جرام جم "
    "كغ ملغ كوب اكواب $ £ € ¥ ฿ US$ C$ A$ ₽ ﷼ ₴ ₠ ₡ ₢ ₣ ₤ ₥ ₦ ₧ ₨ ₩ ₪ ₫ ₭ ₮ ₯ ₰ ₱ ₲ ₳ ₵ ₶ ₷ ₸ ₹ ₺ ₻ ₼ ₾ ₿"
)
ASCII = 0x1100
BLOOM_SHIFT = np.uint64(48)
SPECIAL, UNIT, STOP = 1024, 1024 + (2 << 13), 1024 + (2 << 13) + (2 << 9)
SPECIAL_MASK, UNIT_MASK, STOP_MASK = np.uint64((1 << 13) - 1), np.uint64((1 << 9) - 1), np.uint64((1 << 7) - 1)
KEYS_SIZE = STOP + (2 << 7)


@cache
def class_table() -> np.ndarray:
    """Return the class table (u64, about 420 kB)."""
    pages, flat = kinds.table()
    starts = pages.astype(np.uint64) * np.uint64(256) + np.uint64(ASCII)
    return np.concatenate([starts, flat])


@cache
def key_table() -> np.ndarray:
    """Return the hash tables (u64, about 150 kB)."""
    keys = np.zeros(KEYS_SIZE, dtype=np.uint64)
    special = special_words()
    for word, pieces in special.items():
        packed = sum(len(piece.encode()) << (8 * place) for place, piece in enumerate(pieces))
        h = _put(keys, SPECIAL, int(SPECIAL_MASK), word, packed | _cut_into(word) << 24)
        keys[h >> 54] |= np.uint64(1 << (h >> 48 & 63))
    for unit in UNITS.split():
        _put(keys, UNIT, int(UNIT_MASK), unit, 1)
    for place, word in enumerate(STOP_WORDS):
        _put(keys, STOP, int(STOP_MASK), word, 1 << place)
    return keys


def hash_string(string: str) -> int:
    """Return what `utf8.hash_bytes` gives, without waiting for its compilation."""
    h = 0x9E3779B97F4A7C15
    for byte in string.encode():
        h = (h + byte) * 0x5851F42D4C957F2D & 0xFFFFFFFFFFFFFFFF
    h ^= h >> 32
    h = h * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    return h ^ h >> 29 | 1


def _put(keys: np.ndarray, first: int, mask: int, string: str, value: int) -> int:
    h = hash_string(string)
    slot = h >> 1 & mask
    while keys[first + 2 * slot] not in (0, h):
        slot = (slot + 1) & mask
    keys[first + 2 * slot], keys[first + 2 * slot + 1] = h, value
    return h


def _cut_into(word: str) -> int:
    """Return how many words the affix rules alone make of an exception, 0 if they do not touch it."""
    table = class_table()

    def of(char: str) -> int:
        return int(table[int(table[ord(char) >> 8]) + (ord(char) & 255)])

    if word in cut_into():
        return cut_into()[word]
    stop = word[-1] == "." and bool(of(word[-2]) & kinds.BEFORE_DOT)
    possessive = word[-2:] in ("'s", "’s", "'S", "’S")
    touched = of(word[0]) & kinds.PREFIX or of(word[-1]) & kinds.SUFFIX or stop or possessive
    return 2 if touched and len(word) > 1 else 0
