"""C4's line rules (Raffel et al. 2020, as in datatrove's C4QualityFilter): what becomes of one line."""

# ruff: noqa: SIM102, SIM110 (numba compiles plain loops and nested tests; it has no any() over a generator)

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.kernels.classes import SPACE
from pipelines.kernels.document import ALL_PUNCTUATION, ENDS_SENTENCE, WORDS
from pipelines.kernels.utf8 import class_at

KEPT, LONG_WORD, NO_TERMINAL, FEW_WORDS, LOREM, JAVASCRIPT, CURLY, POLICY = 0, 1, 2, 3, 4, 5, 6, 7

# phrases as (lower-case letters, place of the letter that triggers the look)
_JAVASCRIPT = np.frombuffer(b"javascript", dtype=np.uint8)
_LOREM = np.frombuffer(b"lorem ipsum", dtype=np.uint8)
_TERMS = np.frombuffer(b"terms of use", dtype=np.uint8)
_PRIVACY = np.frombuffer(b"privacy policy", dtype=np.uint8)
_COOKIE = np.frombuffer(b"cookie policy", dtype=np.uint8)
_USES = np.frombuffer(b"uses cookies", dtype=np.uint8)
_USE_OF = np.frombuffer(b"use of cookies", dtype=np.uint8)
_USE = np.frombuffer(b"use cookies", dtype=np.uint8)
HAS_JAVASCRIPT, HAS_LOREM, HAS_CURLY, HAS_POLICY = 1, 2, 4, 8


@njit
def _stands(data, at, a, b, phrase):
    if at < a or at + len(phrase) > b:
        return False
    for i in range(len(phrase)):
        byte = data[at + i]
        if 0x41 <= byte <= 0x5A:
            byte += 0x20
        if byte != phrase[i]:
            return False
    return True


@njit
def phrases(data, a, b):
    """Return which of C4's phrases (any case) bytes a to b hold."""
    found = 0
    for i in range(a, b):
        byte = data[i] | 0x20
        if byte == 0x7B:
            if data[i] == 0x7B:
                found |= HAS_CURLY
        elif byte == 0x6A:
            if _stands(data, i, a, b, _JAVASCRIPT):
                found |= HAS_JAVASCRIPT
        elif byte == 0x70:
            if _stands(data, i - 7, a, b, _LOREM):
                found |= HAS_LOREM
        elif byte == 0x76:
            if _stands(data, i - 3, a, b, _PRIVACY):
                found |= HAS_POLICY
        elif byte == 0x66:
            if _stands(data, i - 7, a, b, _TERMS):
                found |= HAS_POLICY
        elif byte == 0x6B:
            if (
                _stands(data, i - 3, a, b, _COOKIE)
                or _stands(data, i - 8, a, b, _USES)
                or _stands(data, i - 10, a, b, _USE_OF)
                or _stands(data, i - 7, a, b, _USE)
            ):
                found |= HAS_POLICY
    return found


@njit
def _terminal(data, a, b):
    if a >= b:
        return False
    last = data[b - 1]
    if last == 0x2E:
        return not (b - a >= 3 and data[b - 2] == 0x2E and data[b - 3] == 0x2E)
    return last == 0x3F or last == 0x21 or last == 0x22 or last == 0x27


@njit
def _runs(data, a, b, words):
    """Return (pieces between white space, characters of the longest)."""
    count, longest, chars = 0, 0, 0
    i = a
    while i < b:
        c, size = class_at(data, i, words.pages, words.classes)
        if c & SPACE:
            chars = 0
        else:
            if chars == 0:
                count += 1
            chars += 1
            longest = max(longest, chars)
        i += size
    return count, longest


@njit
def _cited(data, a, b):
    """Whether bytes a to b hold a citation: `[12]`, `[edit]`, `[citation needed]`."""
    for i in range(a, b):
        if data[i] == 0x5B and citation(data, i, b):
            return True
    return False


@njit
def citation(data, i, b):
    """Return the bytes of the citation that starts at byte i, or 0 (digits of any script count)."""
    j = i + 1
    while j < b and 0x30 <= data[j] <= 0x39:
        j += 1
    if j < b and data[j] == 0x5D:
        return j + 1 - i
    if _stands_exactly(data, i, b, _EDIT):
        return len(_EDIT)
    return len(_NEEDED) if _stands_exactly(data, i, b, _NEEDED) else 0


_EDIT = np.frombuffer(b"[edit]", dtype=np.uint8)
_NEEDED = np.frombuffer(b"[citation needed]", dtype=np.uint8)


@njit
def _stands_exactly(data, at, b, phrase):
    if at + len(phrase) > b:
        return False
    for i in range(len(phrase)):
        if data[at + i] != phrase[i]:
            return False
    return True


@njit
def sentences_of(data, origin, a, b, word, s):
    """Return (sentences between bytes a and b, first word after them), by spaCy's sentencizer (MIT).

    A sentence ends with a mark; closing punctuation after it still belongs to it. White space other than one space is a
    token there, so it begins the next sentence.
    """
    total = min(s.totals[WORDS], len(s.starts))
    while word < total and s.starts[word] < a - origin:
        word += 1
    count, ended, at = 1, False, a
    while word < total and s.ends[word] <= b - origin:
        start = origin + s.starts[word]
        gap = start - at
        if gap > 1 or (gap == 1 and data[at] != 0x20):
            if ended:
                count += 1
                ended = False
        flags = s.flags[word]
        if flags & ENDS_SENTENCE:
            ended = True
        elif ended and not flags & ALL_PUNCTUATION:
            count += 1
            ended = False
        at = origin + s.ends[word]
        word += 1
    if ended and b - at > 1:
        count += 1
    return count, word


@njit
def c4_line(data, origin, a, b, triggered, word, words, s, rules):
    """Return (outcome, sentences, next word) for the stripped line at bytes a to b.

    `triggered` false promises that none of C4's phrases, brackets or citations can be in it.
    """
    pieces, longest = _runs(data, a, b, words)
    if rules.c4_max_word_chars >= 0 and longest > rules.c4_max_word_chars:
        return LONG_WORD, 0, word
    if rules.c4_terminal_punctuation and not _terminal(data, a, b):
        return NO_TERMINAL, 0, word
    if pieces < rules.c4_min_words_per_line:
        return FEW_WORDS, 0, word
    found = phrases(data, a, b) if triggered else 0
    if found & HAS_LOREM and rules.c4_lorem_ipsum:
        return LOREM, 0, word
    if found & HAS_JAVASCRIPT and rules.c4_javascript:
        return JAVASCRIPT, 0, word
    if found & HAS_CURLY and rules.c4_curly_bracket:
        return CURLY, 0, word
    if found & HAS_POLICY and rules.c4_policy:
        return POLICY, 0, word
    if a == b:
        return KEPT, 0, word
    count, word = sentences_of(data, origin, a, b, word, s)
    return KEPT, count, word
