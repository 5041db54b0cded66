"""The tables of the word rule, computed once per process: character classes, exceptions, units, stop words.

One u64 array contains all tables, so that kernels pass one pointer: a Bloom filter of exceptions, tables of
(hash, value) pairs, page offsets, and pages of classes. The first page is page 0, so that the class of an ASCII byte is
at `ASCII + byte`. The array is an argument, because global arrays are stored in the compiled cache.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from windtunnel.pipelines.features.kernels import classes as kinds
from windtunnel.pipelines.features.kernels.columns import STOP_WORDS
from windtunnel.pipelines.features.kernels.english import cut_into, special_words

UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa "
    "mbar mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с км/ч "
    "кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ тбكم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ كم غرام جرام جم "
    "كغ ملغ كوب اكواب $ £ € ¥ ฿ US$ C$ A$ ₽ ﷼ ₴ ₠ ₡ ₢ ₣ ₤ ₥ ₦ ₧ ₨ ₩ ₪ ₫ ₭ ₮ ₯ ₰ ₱ ₲ ₳ ₵ ₶ ₷ ₸ ₹ ₺ ₻ ₼ ₾ ₿"
)
HASH_SEED, HASH_KEY = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9
BLOOM_SHIFT = np.uint64(48)
SPECIAL, UNIT, STOP = 1024, 1024 + (2 << 13), 1024 + (2 << 13) + (2 << 9)
SPECIAL_MASK, UNIT_MASK, STOP_MASK = np.uint64((1 << 13) - 1), np.uint64((1 << 9) - 1), np.uint64((1 << 7) - 1)
LONGEST_STOP = STOP + (2 << 7)  # characters of the longest stop word; longer words are not looked up
WEIGHTS, WEIGHT_BITS = LONGEST_STOP + 1, 20  # bytes of the boundary model, eight per u64
PAGES = WEIGHTS + (1 << WEIGHT_BITS >> 3)
ASCII = PAGES + 0x1100


@cache
def word_table() -> np.ndarray:
    """Return the complete table (u64, about 1.7 MB)."""
    table = np.concatenate([np.zeros(PAGES, dtype=np.uint64), _class_table()])
    table[WEIGHTS:PAGES] = boundary_weights().view(np.uint64)
    for word, pieces in special_words().items():
        packed = sum(len(piece.encode()) << (8 * place) for place, piece in enumerate(pieces))
        h = _put(table, SPECIAL, int(SPECIAL_MASK), word, packed | _cut_into(word) << 24)
        table[h >> 54] |= np.uint64(1 << (h >> 48 & 63))
    for unit in UNITS.split():
        _put(table, UNIT, int(UNIT_MASK), unit, 1)
    _put_stop_words(table, STOP_WORDS)
    return table


@cache
def word_table_with(stop_words: tuple[str, ...]) -> np.ndarray:
    """Return the table with other stop words, at most `MOST_STOP_WORDS`, which are matched exactly."""
    if stop_words == STOP_WORDS:
        return word_table()
    table = word_table().copy()
    table[STOP:LONGEST_STOP] = 0
    _put_stop_words(table, stop_words)
    return table


def _put_stop_words(table: np.ndarray, words: tuple[str, ...]) -> None:
    for place, word in enumerate(dict.fromkeys(words)):
        _put(table, STOP, int(STOP_MASK), word, 1 << place)
    table[LONGEST_STOP] = max(map(len, words), default=0)


def boundary_weights() -> np.ndarray:
    """Return the weights of the boundary model (i8), see `unspaced`."""
    with np.load(Path(__file__).with_name("boundaries.npz"), allow_pickle=False) as stored:
        return stored["weights"]


@cache
def _class_table() -> np.ndarray:
    pages, flat = kinds.table()
    return np.concatenate([pages.astype(np.uint64) * np.uint64(256) + np.uint64(ASCII), flat])


def hash_string(string: str) -> int:
    """Return the value of `utf8.hash_bytes` without compiling it."""
    raw = string.encode()
    h = HASH_SEED ^ len(raw)
    while len(raw) > 8:
        h = _folded_product(h ^ int.from_bytes(raw[:8], "little"), HASH_KEY)
        raw = raw[8:]
    if raw:
        h = _folded_product(h ^ int.from_bytes(raw.rjust(8, b"\0"), "little"), HASH_KEY)
    return h | 1


def _folded_product(a: int, b: int) -> int:
    product = a * b
    return product >> 64 ^ product & 0xFFFFFFFFFFFFFFFF


def _put(table: np.ndarray, first: int, mask: int, string: str, value: int) -> int:
    h = hash_string(string)
    slot = h >> 1 & mask
    while table[first + 2 * slot] not in (0, h):
        slot = (slot + 1) & mask
    table[first + 2 * slot], table[first + 2 * slot + 1] = h, value
    return h


def _cut_into(word: str) -> int:
    """Return the number of words that the affix rules alone make of an exception, 0 if they leave it whole."""
    table = _class_table()

    def of(char: str) -> int:
        return int(table[int(table[ord(char) >> 8]) - PAGES + (ord(char) & 255)])

    if word in cut_into():
        return cut_into()[word]
    stop = word[-1] == "." and bool(of(word[-2]) & kinds.BEFORE_DOT)
    possessive = word[-2:] in ("'s", "’s", "'S", "’S")
    touched = of(word[0]) & kinds.PREFIX or of(word[-1]) & kinds.SUFFIX or stop or possessive
    return 2 if touched and len(word) > 1 else 0
