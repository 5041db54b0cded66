"""Sentences of a piece of text, by the rule of spaCy's sentencizer (MIT).

A sentence ends with a mark (. ! ? and their kin) that is a word of its own; punctuation after the mark still belongs to
it. White space other than one space is a token there, so it begins the next sentence.
"""

from __future__ import annotations

from numba import njit

from pipelines.kernels.classes import ALPHA, PUNCTUATION, SENTENCE_END, SPACE, SYMBOL
from pipelines.kernels.scratch import LONGEST_CHUNK
from pipelines.kernels.state import ALL_PUNCTUATION, ENDS_SENTENCE, HAS_ALPHA, HAS_NON_SYMBOL
from pipelines.kernels.utf8 import ZERO, class_at
from pipelines.kernels.words import split_chunk


@njit
def word_flags(text, a, b, table):
    """Return (flags, characters) of the word at bytes a to b."""
    flags, chars, c = ALL_PUNCTUATION, 0, ZERO
    while a < b:
        c, size = class_at(text, a, table)
        if c & ALPHA:
            flags |= HAS_ALPHA
        if not c & SYMBOL:
            flags |= HAS_NON_SYMBOL
        if not c & PUNCTUATION:
            flags &= ~ALL_PUNCTUATION
        chars += 1
        a += size
    return (flags | ENDS_SENTENCE if chars == 1 and c & SENTENCE_END else flags), chars


@njit
def chunk_end(text, i, end, table):
    """Return where the run without white space that starts at byte i ends (or is cut, if it is very long)."""
    limit = min(end, i + LONGEST_CHUNK - 4)
    while i < limit:
        c, size = class_at(text, i, table)
        if c & SPACE:
            break
        i += size
    return i


@njit
def sentences_in(text, a, b, table, cuts):
    """Return the sentences between bytes a and b, which are not empty."""
    count, ended, i, at = 1, False, a, a
    while i < b:
        c, size = class_at(text, i, table)
        if c & SPACE:
            i += size
            continue
        if ended and (i - at > 1 or (i - at == 1 and text[at] != 0x20)):
            count += 1
            ended = False
        end = chunk_end(text, i, b, table)
        n = split_chunk(text, i, end, table, cuts)
        for k in range(n):
            flags, _ = word_flags(text, i, cuts[k], table)
            if flags & ENDS_SENTENCE:
                ended = True
            elif ended and not flags & ALL_PUNCTUATION:
                count += 1
                ended = False
            i = cuts[k]
        at = i
    return count + (1 if ended and b - at > 1 else 0)
