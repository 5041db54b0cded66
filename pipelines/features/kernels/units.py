"""Numba kernels: splits texts into sentences, lines, paragraphs or words, with a hash of the words of each unit.

A unit extends from the end of the previous one to its own end, so that the concatenated units are the text (except for
the text after the last word if units are words). Units without words are merged into the previous one.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint32, uint64

from windtunnel.pipelines.features.kernels.folded_words import MULTIPLIER, decode, mix, room, words_of

SENTENCE, LINE, PARAGRAPH, WORD = 0, 1, 2, 3


@njit(cache=True, nogil=True)
def is_closer(code):
    """Return whether a character is a closing quote or bracket, which may follow an end mark."""
    return (
        code == uint32(0x22)
        or code == uint32(0x27)
        or code == uint32(0x29)
        or code == uint32(0x5D)
        or code == uint32(0xBB)
        or code == uint32(0x2019)
        or code == uint32(0x201D)
        or code == uint32(0x300D)
        or code == uint32(0x300F)
        or code == uint32(0xFF09)
    )


@njit(cache=True, nogil=True)
def is_wide_end(code):
    """Return whether a character ends a sentence without a following space."""
    return code == uint32(0x3002) or code == uint32(0xFF01) or code == uint32(0xFF1F) or code == uint32(0x0964)


@njit(cache=True, nogil=True)
def sentence_end(data, start, end):
    """Return the end of the sentence that begins at `start`: after an end mark and a space, or at a line break."""
    at = start
    ended = wide = False
    while at < end:
        code, width = decode(data, at, end)
        if code == uint32(10):
            return at + width
        if is_wide_end(code):
            ended = wide = True
        elif code == uint32(46) or code == uint32(33) or code == uint32(63) or code == uint32(0x2026):
            ended = True
        elif not (ended and is_closer(code)):
            space = code == uint32(32) or code == uint32(9) or code == uint32(13)
            if ended and (wide or (space and not lowercase_follows(data, at + width, end))):
                return at + width if space else at
            ended = wide = False
        at += width
    return end


@njit(cache=True, nogil=True)
def lowercase_follows(data, at, end):
    """Return whether a lower-case ASCII letter follows, which indicates an abbreviation."""
    while at < end and (data[at] == 32 or data[at] == 9):
        at += 1
    return at < end and data[at] >= 97 and data[at] <= 122


@njit(cache=True, nogil=True)
def line_end(data, start, end, paragraph):
    """Return the end of the line, or of the paragraph (lines up to a blank line), that begins at `start`."""
    at = start
    while at < end:
        if data[at] == 10:
            if not paragraph:
                return at + 1
            after = at + 1
            while after < end and (data[after] == 32 or data[after] == 9 or data[after] == 13):
                after += 1
            if after < end and data[after] == 10:
                return after + 1
        at += 1
    return end


@njit(cache=True, nogil=True)
def units_of(data, start, end, kind, folds, expansions, words, places, hashes, ends, sizes):
    """Write hash, end byte and number of words of every unit of data[start:end]; return the number of units.

    All arrays have at least `room(end - start)` entries. `words` and `places` are scratch.
    """
    if kind == WORD:
        count = words_of(data, start, end, folds, expansions, hashes, ends)
        sizes[:count] = 1
        return count
    count, at = 0, start
    while at < end:
        stop = sentence_end(data, at, end) if kind == SENTENCE else line_end(data, at, end, kind == PARAGRAPH)
        held = words_of(data, at, stop, folds, expansions, words, places)
        if held == 0 and count > 0:
            ends[count - 1] = stop
        elif held > 0:
            rolled = uint64(held)
            for i in range(held):
                rolled = rolled * MULTIPLIER + words[i]
            hashes[count], ends[count], sizes[count] = mix(rolled), stop, held
            count += 1
        at = stop
    return count


@njit(cache=True, nogil=True)
def span_keys(data, offsets, alive, kind, span, folds, expansions):
    """Return (key u64, document i64, first unit u32) of every run of `span` units of the documents with `alive`."""
    longest = 0
    for document in range(offsets.size - 1):
        if alive[document]:
            longest = max(longest, offsets[document + 1] - offsets[document])
    words, places = np.empty(room(longest), np.uint64), np.empty(room(longest), np.int64)
    hashes, ends = np.empty(room(longest), np.uint64), np.empty(room(longest), np.int64)
    sizes = np.empty(room(longest), np.int64)
    keys, documents, firsts = np.empty(1024, np.uint64), np.empty(1024, np.int64), np.empty(1024, np.uint32)
    filled = 0
    for document in range(offsets.size - 1):
        if not alive[document]:
            continue
        start, end = offsets[document], offsets[document + 1]
        count = units_of(data, start, end, kind, folds, expansions, words, places, hashes, ends, sizes)
        while filled + count > keys.size:
            keys, documents = np.append(keys, keys), np.append(documents, documents)
            firsts = np.append(firsts, firsts)
        top = uint64(1)
        for _ in range(span):
            top *= MULTIPLIER
        rolled = uint64(0)
        for i in range(count):
            rolled = rolled * MULTIPLIER + hashes[i]
            if i >= span:
                rolled -= hashes[i - span] * top
            if i >= span - 1:
                keys[filled], documents[filled], firsts[filled] = mix(rolled), document, uint32(i - span + 1)
                filled += 1
    return keys[:filled], documents[:filled], firsts[:filled]


@njit(cache=True, nogil=True)
def without_spans(data, start, end, kind, span, firsts, fewest_words, folds, expansions, out):
    """Copy data[start:end] into `out` without the runs of `span` units at `firsts` (sorted).

    Return (bytes written, bytes removed, words kept, units kept). Adjacent runs are merged; a run with fewer than
    `fewest_words` words is kept.
    """
    size = room(end - start)
    words, places = np.empty(size, np.uint64), np.empty(size, np.int64)
    hashes, ends, sizes = np.empty(size, np.uint64), np.empty(size, np.int64), np.empty(size, np.int64)
    count = units_of(data, start, end, kind, folds, expansions, words, places, hashes, ends, sizes)
    removed = np.zeros(count + 1, np.bool_)
    for first in firsts:
        for unit in range(first, min(first + span, count)):
            removed[unit] = True
    unit = 0
    while unit < count:
        stop, held = unit, 0
        while stop < count and removed[stop]:
            held += sizes[stop]
            stop += 1
        if stop > unit and held < fewest_words:
            removed[unit:stop] = False
        unit = stop + 1
    written, kept_words, kept_units, at = 0, 0, 0, start
    for unit in range(count):
        if not removed[unit]:
            length = ends[unit] - at
            out[written : written + length] = data[at : ends[unit]]
            written += length
            kept_words += sizes[unit]
            kept_units += 1
        at = ends[unit]
    rest = end - at
    out[written : written + rest] = data[at:end]
    return written + rest, end - start - written - rest, kept_words, kept_units
