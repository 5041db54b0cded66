"""C4's line rules (Raffel et al. 2020, as in datatrove's C4QualityFilter): what becomes of one line."""

# ruff: noqa: SIM102 (numba compiles plain loops and nested tests; it has no any() over a generator)

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.kernels.breaks import next_line, strip
from pipelines.kernels.classes import DECIMAL, SPACE
from pipelines.kernels.document import ALL_PUNCTUATION, ENDS_SENTENCE, WORDS, chunk_end, word_flags
from pipelines.kernels.utf8 import class_at
from pipelines.kernels.words import split_chunk

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
def _stands(data, at, a, b, phrase, any_case):
    """Whether the phrase stands at byte `at`, within bytes a to b."""
    if at < a or at + len(phrase) > b:
        return False
    for i in range(len(phrase)):
        byte = data[at + i]
        if any_case and 0x41 <= byte <= 0x5A:
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
            if _stands(data, i, a, b, _JAVASCRIPT, True):
                found |= HAS_JAVASCRIPT
        elif byte == 0x70:
            if _stands(data, i - 7, a, b, _LOREM, True):
                found |= HAS_LOREM
        elif byte == 0x76:
            if _stands(data, i - 3, a, b, _PRIVACY, True):
                found |= HAS_POLICY
        elif byte == 0x66:
            if _stands(data, i - 7, a, b, _TERMS, True):
                found |= HAS_POLICY
        elif byte == 0x6B:
            if (
                _stands(data, i - 3, a, b, _COOKIE, True)
                or _stands(data, i - 8, a, b, _USES, True)
                or _stands(data, i - 10, a, b, _USE_OF, True)
                or _stands(data, i - 7, a, b, _USE, True)
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


_EDIT = np.frombuffer(b"[edit]", dtype=np.uint8)
_NEEDED = np.frombuffer(b"[citation needed]", dtype=np.uint8)


@njit
def _citation(data, i, b, words):
    """Return the bytes of the citation (`[12]`, `[]`, `[edit]`, `[citation needed]`) that starts at byte i, or 0."""
    if data[i] != 0x5B:
        return 0
    j = i + 1
    while j < b:  # decimal digits of any script, as the regular expression's \\d has it
        c, size = class_at(data, j, words.pages, words.classes)
        if not c & DECIMAL:
            break
        j += size
    if j < b and data[j] == 0x5D:
        return j + 1 - i
    if _stands(data, i, i, b, _EDIT, False):
        return len(_EDIT)
    return len(_NEEDED) if _stands(data, i, i, b, _NEEDED, False) else 0


@njit
def without_citations(data, a, b, words):
    """Return (bytes, begin, end) of the line at bytes a to b without its citations; a copy only if it has any."""
    i = a
    while i < b and not (data[i] == 0x5B and _citation(data, i, b, words)):
        i += 1
    if i == b:
        return data, a, b
    line = np.empty(b - a, dtype=np.uint8)
    line[: i - a] = data[a:i]
    n = i - a
    while i < b:
        size = _citation(data, i, b, words)
        if size:
            i += size
            continue
        line[n] = data[i]
        n += 1
        i += 1
    return line, 0, n


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
def sentences_in(data, a, b, words, s):
    """Return the sentences between bytes a and b, finding the words anew."""
    count, ended, i, at = 1, False, a, a
    while i < b:
        c, size = class_at(data, i, words.pages, words.classes)
        if c & SPACE:
            i += size
            continue
        if ended and (i - at > 1 or (i - at == 1 and data[at] != 0x20)):
            count += 1
            ended = False
        end = chunk_end(data, i, b, words)
        n = split_chunk(data, i, end, words, s.cuts, s.joins)
        for k in range(n):
            flags = word_flags(data, i, s.cuts[k], words)
            if flags & ENDS_SENTENCE:
                ended = True
            elif ended and not flags & ALL_PUNCTUATION:
                count += 1
                ended = False
            i = s.cuts[k]
        at = i
    return count + (ended and b - at > 1)


@njit
def c4_line(data, origin, a, b, triggered, word, words, s, rules):
    """Return (outcome, sentences, next word) for the stripped line at bytes a to b.

    `triggered` false promises that none of C4's phrases, brackets or citations can be in it.
    """
    pieces, longest = _runs(data, a, b, words)
    if rules.c4_max_word_chars >= 0 and longest > rules.c4_max_word_chars:
        return LONG_WORD, 0, word
    line, begin, end = data, a, b
    if triggered and rules.c4_citations:
        line, begin, end = without_citations(data, a, b, words)
    if rules.c4_terminal_punctuation and not _terminal(line, begin, end):
        return NO_TERMINAL, 0, word
    if pieces < rules.c4_min_words_per_line:
        return FEW_WORDS, 0, word
    found = phrases(line, begin, end) if triggered else 0
    if found & HAS_LOREM and rules.c4_lorem_ipsum:
        return LOREM, 0, word
    if found & HAS_JAVASCRIPT and rules.c4_javascript:
        return JAVASCRIPT, 0, word
    if found & HAS_CURLY and rules.c4_curly_bracket:
        return CURLY, 0, word
    if found & HAS_POLICY and rules.c4_policy:
        return POLICY, 0, word
    if begin == end:
        return KEPT, 0, word
    if end - begin != b - a:
        return KEPT, sentences_in(line, begin, end, words, s), word
    count, word = sentences_of(data, origin, a, b, word, s)
    return KEPT, count, word


@njit
def c4_rewrite(data, a, b, words, s, rules, target, n):
    """Write the lines that C4 keeps of the document at bytes a to b into `target` from byte n on; return the end.

    Lines are stripped and joined by newlines, citations are gone, and the whole is stripped.
    """
    start, i = n, a
    first = True
    while i < b:
        end, after = next_line(data, i, b, words)
        low, high = strip(data, i, end, words)
        outcome, _, _ = c4_line(data, a, low, high, True, len(s.starts), words, s, rules)
        if outcome == KEPT:
            line, low, high = without_citations(data, low, high, words) if rules.c4_citations else (data, low, high)
            if not first:
                target[n] = 0x0A
                n += 1
            first = False
            target[n : n + high - low] = line[low:high]
            n += high - low
        i = after
    low, high = strip(target, start, n, words)
    if low > start:
        for k in range(low, high):
            target[start + k - low] = target[k]
    return start + high - low
