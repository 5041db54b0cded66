"""Sentences by the rule of spaCy's sentencizer (MIT).

A sentence ends with an end mark (. ! ? and similar) that is a separate word, plus any following punctuation. White
space other than a single space is a token in spaCy, so it begins the next sentence.
"""

from __future__ import annotations

from numba import njit

from windtunnel.pipelines.features.kernels.classes import ALPHA, PUNCTUATION, SENTENCE_END, SPACE, SYMBOL
from windtunnel.pipelines.features.kernels.scratch import LONGEST_CHUNK
from windtunnel.pipelines.features.kernels.state import ALL_PUNCTUATION, ENDS_SENTENCE, HAS_ALPHA, HAS_NON_SYMBOL
from windtunnel.pipelines.features.kernels.unspaced import NO_LANGUAGE, run_end, segment
from windtunnel.pipelines.features.kernels.utf8 import ZERO, class_at
from windtunnel.pipelines.features.kernels.words import split_chunk


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
def split_run(text, i, end, language, table, cuts):
    """Write the ends of the words of the run from byte i on into `cuts`; return (end of the run, number of words).

    A run ends at white space or between scripts with and without spaces; very long runs are split. With NO_LANGUAGE all
    text is split by the English rule.
    """
    stop, unspaced = run_end(text, i, min(end, i + LONGEST_CHUNK - 4), language == NO_LANGUAGE, table)
    if unspaced and language != NO_LANGUAGE:
        return stop, segment(text, i, stop, language, table, cuts)
    return stop, split_chunk(text, i, stop, table, cuts)


@njit
def sentences_in(text, a, b, language, table, cuts):
    """Return the number of sentences in bytes a to b, which are not empty."""
    count, ended, i, at = 1, False, a, a
    while i < b:
        c, size = class_at(text, i, table)
        if c & SPACE:
            i += size
            continue
        if ended and (i - at > 1 or (i - at == 1 and text[at] != 0x20)):
            count += 1
            ended = False
        _, n = split_run(text, i, b, language, table, cuts)
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
