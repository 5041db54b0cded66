"""What kernels read and write beside the text: tables made once, and scratch that a thread reuses for all documents."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
LONGEST_CHUNK = 1 << 15  # bytes; a longer run without white space is cut there, so that `cuts` stays small
FIRST_WORDS = 1 << 14
MOST_WORDS = 1 << 24  # words kept for n-grams: 17 M words are 100 MB of English, 500 MB of scratch


class Words(NamedTuple):
    """Tables of the word rule."""

    pages: np.ndarray
    classes: np.ndarray
    special_keys: np.ndarray
    special_pieces: np.ndarray
    unit_keys: np.ndarray
    stop_keys: np.ndarray
    stop_bits: np.ndarray


class Scratch(NamedTuple):
    """Per-thread scratch: 61 bytes a word (21 for the word, 8 to find n-grams that may repeat, 32 for their table)."""

    starts: np.ndarray  # i32: byte of the word in its document
    ends: np.ndarray  # i32
    hashes: np.ndarray  # u64
    chars: np.ndarray  # i32
    flags: np.ndarray  # u8
    cuts: np.ndarray  # i32[2 x LONGEST_CHUNK]
    joins: np.ndarray  # u8[LONGEST_CHUNK]: see words._rejoin
    seen: np.ndarray  # u8: which n-grams were met, once and more than once
    places: np.ndarray  # i32: positions whose n-gram may repeat
    keys: np.ndarray  # u64: n-gram table
    counts: np.ndarray  # i32
    firsts: np.ndarray  # i32
    totals: np.ndarray  # i64[16]: what the word pass adds up


UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa "
    "mbar mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с км/ч "
    "кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ тбكم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ كم غرام جرام جم "
    "كغ ملغ كوب اكواب $ £ € ¥ ฿ US$ C$ A$ ₽ ﷼ ₴ ₠ ₡ ₢ ₣ ₤ ₥ ₦ ₧ ₨ ₩ ₪ ₫ ₭ ₮ ₯ ₰ ₱ ₲ ₳ ₵ ₶ ₷ ₸ ₹ ₺ ₻ ₼ ₾ ₿"
)


@cache
def words_tables() -> Words:
    """Return the tables of the word rule, made once a process."""
    from pipelines.kernels.classes import table
    from pipelines.kernels.english import special_words

    pages, classes = table()
    special = special_words()
    packed = [
        sum(len(p.encode()) << (8 * i) for i, p in enumerate(pieces)) | _cut_into(word, pages, classes) << 24
        for word, pieces in special.items()
    ]
    keys, pieces = hash_table(list(special), packed, 1 << 13)
    units, _ = hash_table(UNITS.split(), [1] * len(UNITS.split()), 1 << 9)
    stops, bits = hash_table(list(STOP_WORDS), [1 << i for i in range(len(STOP_WORDS))], 1 << 6)
    return Words(pages, classes, keys, pieces, units, stops, bits)


def _cut_into(word: str, pages: np.ndarray, classes: np.ndarray) -> int:
    """Return how many words the affix rules alone make of an exception, 0 if they do not touch it."""
    from pipelines.kernels.classes import BEFORE_DOT, PREFIX, SUFFIX
    from pipelines.kernels.english import cut_into

    def of(char: str) -> int:
        return int(classes[int(pages[ord(char) >> 8]) << 8 | ord(char) & 255])

    if word in cut_into():
        return cut_into()[word]
    stop = word[-1] == "." and bool(of(word[-2]) & BEFORE_DOT)
    possessive = word[-2:] in ("'s", "’s", "'S", "’S")
    touched = of(word[0]) & PREFIX or of(word[-1]) & SUFFIX or stop or possessive
    return 2 if touched and len(word) > 1 else 0


def hash_table(strings: list[str], values: list[int], slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (keys u64, values u32) of an open-addressing table; empty slots are 0."""
    keys, held = np.zeros(slots, dtype=np.uint64), np.zeros(slots, dtype=np.uint32)
    for string, value in zip(strings, values, strict=True):
        h = hash_string(string)
        slot = h & (slots - 1)
        while keys[slot]:
            slot = (slot + 1) & (slots - 1)
        keys[slot], held[slot] = h, value
    return keys, held


def hash_string(string: str) -> int:
    """Return what `utf8.hash_bytes` gives, without waiting for its compilation."""
    h = 0x9E3779B97F4A7C15
    for byte in string.encode():
        h = (h + byte) * 0x5851F42D4C957F2D & 0xFFFFFFFFFFFFFFFF
    h ^= h >> 32
    h = h * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    return h ^ h >> 29


def make_scratch(words: int) -> Scratch:
    """Return scratch for documents of up to `words` words (a power of two)."""
    table = 2 * words
    return Scratch(
        starts=np.empty(words, dtype=np.int32),
        ends=np.empty(words, dtype=np.int32),
        hashes=np.empty(words, dtype=np.uint64),
        chars=np.empty(words, dtype=np.int32),
        flags=np.empty(words, dtype=np.uint8),
        cuts=np.empty(2 * LONGEST_CHUNK + 8, dtype=np.int32),
        joins=np.zeros(LONGEST_CHUNK, dtype=np.uint8),
        seen=np.zeros(4 * words, dtype=np.uint8),
        places=np.empty(words, dtype=np.int32),
        keys=np.zeros(table, dtype=np.uint64),
        counts=np.zeros(table, dtype=np.int32),
        firsts=np.zeros(table, dtype=np.int32),
        totals=np.zeros(16, dtype=np.int64),
    )
