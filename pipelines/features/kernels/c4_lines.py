"""C4's line rules (Raffel et al. 2020, as in datatrove's C4QualityFilter)."""

from __future__ import annotations

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels.breaks import next_line, strip
from windtunnel.pipelines.features.kernels.classes import DECIMAL, SPACE, UNSPACED
from windtunnel.pipelines.features.kernels.sentences import sentences_in, split_run, word_flags
from windtunnel.pipelines.features.kernels.state import (
    C4_CITATIONS,
    C4_CURLY,
    C4_JAVASCRIPT,
    C4_LOREM,
    C4_MAX_WORD_CHARS,
    C4_MIN_WORDS,
    C4_POLICY,
    C4_TERMINAL,
    C4_UNSPACED,
    HAS_BRACKET,
    HAS_CURLY,
    HAS_JAVASCRIPT,
    HAS_LOREM,
    HAS_NON_SYMBOL,
    HAS_POLICY,
    RUN_LANGUAGE,
)
from windtunnel.pipelines.features.kernels.unspaced import NO_LANGUAGE, document_language
from windtunnel.pipelines.features.kernels.utf8 import ZERO, class_at

KEPT, DROPPED, LOREM, CURLY = 0, 1, 2, 3

_JAVASCRIPT = np.frombuffer(b"javascript", dtype=np.uint8)
_LOREM = np.frombuffer(b"lorem ipsum", dtype=np.uint8)
_TERMS = np.frombuffer(b"terms of use", dtype=np.uint8)
_PRIVACY = np.frombuffer(b"privacy policy", dtype=np.uint8)
_COOKIE = np.frombuffer(b"cookie policy", dtype=np.uint8)
_USES = np.frombuffer(b"uses cookies", dtype=np.uint8)
_USE_OF = np.frombuffer(b"use of cookies", dtype=np.uint8)
_USE = np.frombuffer(b"use cookies", dtype=np.uint8)
_EDIT = np.frombuffer(b"[edit]", dtype=np.uint8)
_NEEDED = np.frombuffer(b"[citation needed]", dtype=np.uint8)


@njit
def _stands(text, at, a, b, phrase, any_case):
    """Return whether the phrase occurs at byte `at`, within bytes a to b."""
    if at < a or at + len(phrase) > b:
        return False
    for i in range(len(phrase)):
        byte = text[at + i]
        if any_case and 0x41 <= byte <= 0x5A:
            byte += 0x20
        if byte != phrase[i]:
            return False
    return True


@njit
def javascript_in(text, a, b):
    """Return HAS_JAVASCRIPT if bytes a to b contain the word, else 0."""
    for i in range(a, b - len(_JAVASCRIPT) + 1):
        if text[i] | 0x20 == 0x6A and _stands(text, i, a, b, _JAVASCRIPT, True):
            return HAS_JAVASCRIPT
    return 0


@njit
def phrase_at(text, i, a, b):
    """Return the flag of the C4 phrase whose last word starts at byte i of the line a to b, or 0."""
    second = text[i + 1] | 0x20 if i + 1 < b else 0
    first = text[i] | 0x20
    if first == 0x69 and second == 0x70:  # ipsum
        return HAS_LOREM if _stands(text, i - 6, a, b, _LOREM, True) else 0
    if first == 0x75 and second == 0x73:  # use
        return HAS_POLICY if _stands(text, i - 9, a, b, _TERMS, True) else 0
    if first == 0x70 and second == 0x6F:  # policy
        found = _stands(text, i - 8, a, b, _PRIVACY, True) or _stands(text, i - 7, a, b, _COOKIE, True)
        return HAS_POLICY if found else 0
    if first == 0x63 and second == 0x6F:  # cookies
        found = _stands(text, i - 5, a, b, _USES, True) or _stands(text, i - 4, a, b, _USE, True)
        return HAS_POLICY if found or _stands(text, i - 7, a, b, _USE_OF, True) else 0
    return 0


@njit
def flags_in(text, a, b):
    """Return all C4 flags of bytes a to b, testing every byte."""
    found = 0
    for i in range(a, b):
        byte = text[i]
        if byte == 0x7B:
            found |= HAS_CURLY
        elif byte == 0x5B:
            found |= HAS_BRACKET
        elif byte >= 0x41:
            found |= phrase_at(text, i, a, b)
    return found | javascript_in(text, a, b)


@njit
def terminal(text, a, b):
    """Return whether bytes a to b end with . ? ! or a quote, and not with an ellipsis."""
    if a >= b:
        return False
    last = text[b - 1]
    if last == 0x2E:
        return not (b - a >= 3 and text[b - 2] == 0x2E and text[b - 3] == 0x2E)
    return last == 0x3F or last == 0x21 or last == 0x22 or last == 0x27


@njit
def _citation(text, i, b, table):
    """Return the length of the citation (`[12]`, `[]`, `[edit]`, `[citation needed]`) at byte i, or 0."""
    if text[i] != 0x5B:
        return 0
    j = i + 1
    while j < b:
        c, size = class_at(text, j, table)
        if not c & DECIMAL:
            break
        j += size
    if j < b and text[j] == 0x5D:
        return j + 1 - i
    if _stands(text, i, i, b, _EDIT, False):
        return len(_EDIT)
    return len(_NEEDED) if _stands(text, i, i, b, _NEEDED, False) else 0


@njit
def without_citations(text, a, b, table, line):
    """Write the line at bytes a to b without citations into `line`; return its length, or -1 without citations."""
    i = a
    while i < b and not (text[i] == 0x5B and _citation(text, i, b, table)):
        i += 1
    if i == b:
        return -1
    for k in range(a, i):
        line[k - a] = text[k]
    n = i - a
    while i < b:
        size = _citation(text, i, b, table)
        if size:
            i += size
            continue
        line[n] = text[i]
        n += 1
        i += 1
    return n


@njit
def outcome_of(text, a, b, pieces, longest, flags, sentences, table, cuts, line, state):
    """Return (outcome, sentences) of the stripped line at bytes a to b.

    pieces, longest: number of its runs without white space, and characters of the longest. flags, sentences: results of
    the pass over words, recomputed if the line has citations. Negative `sentences` disable counting.
    """
    if state[C4_MAX_WORD_CHARS] >= 0 and longest > state[C4_MAX_WORD_CHARS]:
        return DROPPED, 0
    if flags & HAS_BRACKET and state[C4_CITATIONS]:
        size = without_citations(text, a, b, table, line)
        if size >= 0:
            outcome = _verdict(line, 0, size, pieces, flags_in(line, 0, size), state)
            if outcome == KEPT and size > 0 and sentences >= 0:
                return KEPT, sentences_in(line, 0, size, state[RUN_LANGUAGE] - 1, table, cuts)
            return outcome, 0
    outcome = _verdict(text, a, b, pieces, flags, state)
    return outcome, (sentences if outcome == KEPT and b > a else 0)


@njit
def _verdict(text, a, b, pieces, flags, state):
    """Return the outcome of a line without citations, testing the rules in datatrove's order."""
    if state[C4_TERMINAL] and not terminal(text, a, b):
        return DROPPED
    if pieces < state[C4_MIN_WORDS]:
        return DROPPED
    if flags & HAS_LOREM and state[C4_LOREM]:
        return LOREM
    if flags & HAS_JAVASCRIPT and state[C4_JAVASCRIPT]:
        return DROPPED
    if flags & HAS_CURLY and state[C4_CURLY]:
        return CURLY
    if flags & HAS_POLICY and state[C4_POLICY]:
        return DROPPED
    return KEPT


@njit
def _runs(text, a, b, language, table, cuts):
    """Return (runs between white space, characters of the longest); in scripts without spaces, words are runs."""
    count, longest = 0, 0
    while a < b:
        i, chars, union = a, 0, ZERO
        while i < b:
            c, size = class_at(text, i, table)
            if c & SPACE:
                break
            union |= c
            chars += 1
            i += size
        if union & UNSPACED and language != NO_LANGUAGE:
            pieces, chars = _unspaced_words(text, a, i, language, table, cuts)
            count += max(1, pieces)
        else:
            count += i > a
        longest = max(longest, chars)
        a = i + size if i < b else b
    return count, longest


@njit
def _unspaced_words(text, a, b, language, table, cuts):
    """Return (words with a non-symbol, characters of the longest word) of bytes a to b."""
    count, longest = 0, 0
    while a < b:
        _, n = split_run(text, a, b, language, table, cuts)
        for k in range(n):
            flags, chars = word_flags(text, a, np.int64(cuts[k]), table)
            count += (flags & HAS_NON_SYMBOL) != 0
            longest = max(longest, chars)
            a = np.int64(cuts[k])
    return count, longest


@njit
def rewrite(text, a, b, table, cuts, line, state, target, n):
    """Write the lines of the document at bytes a to b that C4 keeps into `target` from byte n on; return the end.

    Lines are stripped and joined by newlines, citations are removed, and the result is stripped.
    """
    start, i, first = n, a, True
    language = document_language(text, a, b, table) if state[C4_UNSPACED] else NO_LANGUAGE
    while i < b:
        end, after = next_line(text, i, b, table)
        low, high = strip(text, i, end, table)
        pieces, longest = _runs(text, low, high, language, table, cuts)
        outcome, _ = outcome_of(
            text, low, high, pieces, longest, flags_in(text, low, high), -1, table, cuts, line, state
        )
        if outcome == KEPT:
            if not first:
                target[n] = 0x0A
                n += 1
            first = False
            size = without_citations(text, low, high, table, line) if state[C4_CITATIONS] else -1
            for k in range(size if size >= 0 else high - low):
                target[n + k] = line[k] if size >= 0 else text[low + k]
            n += size if size >= 0 else high - low
        i = after
    low, high = strip(target, start, n, table)
    if low > start:
        for k in range(low, high):
            target[start + k - low] = target[k]
    return start + high - low
