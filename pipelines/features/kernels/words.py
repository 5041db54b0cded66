"""Words by the English rules of spaCy's tokenizer (algorithm: `spacy/tokenizer.pyx`, MIT), on bytes.

A chunk is a run between white space. Unless it is an exception (a contraction, an abbreviation), prefixes and suffixes
are split off one after the other, and the rest is split at infixes. Text in scripts without spaces is segmented by
`windtunnel.pipelines.features.kernels.unspaced`.
"""

# ruff: noqa: SIM102 (numba compiles plain loops and nested tests; it has no any() over a generator)

from __future__ import annotations

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels.classes import (
    BEFORE_DOT,
    CASED_LOWER,
    CASED_UPPER,
    DIGIT,
    ICON,
    PREFIX,
    QUOTE,
    SUFFIX,
    WORD_ALPHA,
)
from windtunnel.pipelines.features.kernels.scratch import LONGEST_CHUNK
from windtunnel.pipelines.features.kernels.tables import ASCII, UNIT, UNIT_MASK
from windtunnel.pipelines.features.kernels.urls import is_url
from windtunnel.pipelines.features.kernels.utf8 import before, class_at, find, hash_bytes, special_of

LONGEST_SPECIAL = 40  # bytes; longer strings are never exceptions
MOST_PIECES = 11  # maximum number of words that the affix rules make of an exception
PIECE_BITS = 0xFFFFFF  # of a packed exception; the higher bits are the number of words by the affix rules
LONGEST_UNIT = 12
JOINS = 2 * LONGEST_CHUNK  # offset of the last third of `cuts`


@njit
def special(text, a, b, table):
    """Return the packed exception (three piece lengths of 8 bits, words by the affix rules), or 0."""
    return special_of(table, hash_bytes(text, a, b)) if b - a <= LONGEST_SPECIAL else 0


@njit
def prefix(text, a, b, table):
    """Return the length of the prefix of bytes a to b, or 0."""
    first = text[a]
    if first == 0x2E:  # two or more full stops
        i = a + 1
        while i < b and text[i] == 0x2E:
            i += 1
        return i - a if i - a >= 2 else 0
    if first == 0x2B:  # + unless a number follows
        return 0 if a + 1 < b and table[ASCII + text[a + 1]] & DIGIT and text[a + 1] < 0x80 else 1
    if first == 0x55 and b - a >= 3 and text[a + 1] == 0x53 and text[a + 2] == 0x24:  # US$
        return 3
    if (first == 0x43 or first == 0x41) and b - a >= 2 and text[a + 1] == 0x24:  # C$ A$
        return 2
    c, size = class_at(text, a, table)
    return size if c & PREFIX else 0


@njit
def suffix(text, a, b, table):
    """Return the length of the suffix of bytes a to b, or 0."""
    if a >= b:
        return 0
    last = before(text, b)
    if text[last] == 0x2E:
        return _final_stops(text, a, b, table)
    unit = _unit(text, a, b, table)
    if unit:
        return unit
    c, size = class_at(text, last, table)
    if (text[last] | 0x20) == 0x73 and last > a:  # 's ’s
        mark = before(text, last)
        if text[mark] == 0x27:
            return 2
        if mark >= a and last - mark == 3 and text[mark] == 0xE2 and text[mark + 1] == 0x80 and text[mark + 2] == 0x99:
            return 4
    if text[last] == 0x2B:
        return 1 if last > a and table[ASCII + text[last - 1]] & DIGIT and text[last - 1] < 0x80 else 0
    if c & SUFFIX:
        # two consecutive ellipses are one suffix
        if size == 3 and text[last] == 0xE2 and text[last + 1] == 0x80 and text[last + 2] == 0xA6 and last - a >= 3:
            if text[last - 3] == 0xE2 and text[last - 2] == 0x80 and text[last - 1] == 0xA6:
                return 6
        return size
    return 0


@njit
def _final_stops(text, a, b, table):
    i = b - 1
    while i > a and text[i - 1] == 0x2E:
        i -= 1
    if b - i >= 2:
        return b - i
    if i == a:
        return 0
    at = before(text, i)
    c, _ = class_at(text, at, table)
    if c & BEFORE_DOT:
        return 1
    if at == a:
        return 0
    earlier = before(text, at)
    if c & CASED_UPPER:
        p, _ = class_at(text, earlier, table)
        if p & CASED_UPPER:
            return 1
    degree = text[earlier] == 0xC2 and text[earlier + 1] == 0xB0
    return 1 if degree and (text[at] == 0x46 or text[at] == 0x43 or text[at] == 0x4B) else 0


@njit
def _unit(text, a, b, table):
    """Return the length of a final unit or currency that follows a digit, or 0."""
    i = b
    while i > a and b - i <= LONGEST_UNIT:
        if text[i - 1] < 0x80 and table[ASCII + text[i - 1]] & DIGIT:
            if i == b:
                return 0
            return b - i if find(table, UNIT, UNIT_MASK, hash_bytes(text, i, b)) else 0
        i -= 1
    return 0


@njit
def infix(text, i, a, b, table):
    """Return (length of the infix at i, bytes to advance if there is none) within bytes a to b."""
    byte = text[i]
    if byte == 0x2E:
        j = i + 1
        while j < b and text[j] == 0x2E:
            j += 1
        if j - i >= 2:
            return j - i, 1
    c, size = class_at(text, i, table)
    if c & ICON:
        return size, size
    if i == a or i + size >= b:
        # all other infixes are between characters (two hyphens are matched from the first)
        return 0, size
    p, _ = class_at(text, before(text, i), table)
    n, _ = class_at(text, i + size, table)
    prev_digit = p & DIGIT
    if byte < 0x80:
        if byte == 0x2E:
            return (1 if p & (CASED_LOWER | QUOTE) and n & (CASED_UPPER | QUOTE) else 0), 1
        if byte == 0x2C:
            return (1 if p & WORD_ALPHA and n & WORD_ALPHA else 0), 1
        if (byte == 0x2B or byte == 0x2D or byte == 0x2A or byte == 0x5E) and prev_digit:
            if n & DIGIT or text[i + 1] == 0x2D:
                return 1, 1
        if byte == 0x3A or byte == 0x3C or byte == 0x3E or byte == 0x3D or byte == 0x2F:
            return (1 if p & (WORD_ALPHA | DIGIT) and n & WORD_ALPHA else 0), 1
        if byte == 0x7E:
            return (1 if p & (WORD_ALPHA | DIGIT) and n & WORD_ALPHA else 0), 1
        if byte == 0x2D and p & (WORD_ALPHA | DIGIT):
            return _hyphens(text, i, b, table), 1
        return 0, 1
    if size == 3 and byte == 0xE2 and text[i + 1] == 0x80 and p & (WORD_ALPHA | DIGIT):
        if text[i + 2] == 0x93 or text[i + 2] == 0x94:  # en and em dash
            if n & WORD_ALPHA:
                return 3, 3
            if (
                text[i + 2] == 0x94
                and i + 6 < b
                and text[i + 3] == 0xE2
                and text[i + 4] == 0x80
                and text[i + 5] == 0x94
            ):
                after, _ = class_at(text, i + 6, table)
                if after & WORD_ALPHA:
                    return 6, 3
    return 0, size


@njit
def _hyphens(text, i, b, table):
    """Return the length of one to three hyphens that a letter follows, or 0."""
    j = i + 1
    while j < b and j - i < 3 and text[j] == 0x2D:
        j += 1
    if j >= b:
        return 0
    after, _ = class_at(text, j, table)
    return j - i if after & WORD_ALPHA else 0


@njit
def split_chunk(text, a, b, table, cuts):
    """Write the ends of the words of the chunk a to b into `cuts`; return their number.

    The chunk is at most LONGEST_CHUNK bytes long; the ends of suffixes are collected in the second third of `cuts`.
    """
    n, tail = 0, 0
    room = LONGEST_CHUNK
    begin, end = a, b
    while begin < end:
        if special(text, begin, end, table):
            break
        size = end - begin
        pre = prefix(text, begin, end, table)
        if pre and begin + pre < end and special(text, begin + pre, end, table):
            begin += pre
            cuts[n] = begin
            n += 1
            break
        suf = suffix(text, begin + pre, end, table) if tail < room else 0
        if suf and begin < end - suf and special(text, begin, end - suf, table):
            cuts[room + tail] = end
            tail += 1
            end -= suf
            break
        if pre:
            begin += pre
            cuts[n] = begin
            n += 1
        if suf:
            cuts[room + tail] = end
            tail += 1
            end -= suf
        if end - begin == size:
            break
    if begin < end:
        n = _middle(text, begin, end, table, cuts, n)
    for i in range(tail - 1, -1, -1):
        cuts[n] = cuts[room + i]
        n += 1
    return _rejoin(text, a, table, cuts, n) if n > 1 else n


@njit
def _middle(text, a, b, table, cuts, n):
    pieces = special(text, a, b, table) & PIECE_BITS
    if pieces:
        at = a
        while pieces:
            at += pieces & 0xFF
            cuts[n] = at
            n += 1
            pieces >>= 8
        return n
    start, i, first, checked = a, a, n, False
    while i < b:
        size, step = infix(text, i, a, b, table)
        if size == 0:
            i += step
            continue
        if not checked:
            checked = True
            if is_url(text, a, b, table):
                break
        if i > a:
            if i > start:
                cuts[n] = i
                n += 1
            start = i + size
            cuts[n] = start
            n += 1
        i += size
    if start < b or n == first:
        cuts[n] = b
        n += 1
    return n


@njit
def _rejoin(text, a, table, cuts, n):
    """Rejoin exceptions that the affix rules split: longest first, then from the left, without overlaps.

    As in spaCy, a candidate that overlaps a longer one is skipped but still blocks others.
    """
    for i in range(JOINS, JOINS + n):
        cuts[i] = 0
    any_found = False
    for span in range(min(n, MOST_PIECES), 1, -1):
        for i in range(n - span + 1):
            begin = a if i == 0 else cuts[i - 1]
            if special(text, begin, cuts[i + span - 1], table) >> 24 != span:
                continue
            if cuts[JOINS + i] == 0 and cuts[JOINS + i + span - 1] == 0:
                cuts[JOINS + i] = span
                any_found = True
            for j in range(i, i + span):
                cuts[JOINS + j] = max(cuts[JOINS + j], 1)
    return _apply_joins(text, a, table, cuts, n) if any_found else n


@njit
def _apply_joins(text, a, table, cuts, n):
    """Write the rejoined exceptions into `cuts` through its second third, since one may add words."""
    room, count, i, begin = LONGEST_CHUNK, 0, 0, a
    while i < n:
        span = max(np.int64(cuts[JOINS + i]), 1)
        last = cuts[i + span - 1]
        if span > 1:
            pieces = special(text, begin, last, table) & PIECE_BITS
            at = begin
            while pieces:
                at += pieces & 0xFF
                cuts[room + count] = at
                count += 1
                pieces >>= 8
        else:
            cuts[room + count] = last
            count += 1
        begin = last
        i += span
    for i in range(count):
        cuts[i] = cuts[room + i]
    return count
