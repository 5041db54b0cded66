"""Word boundaries in scripts written without spaces: Chinese, Japanese and Thai by a linear model, others by syllable.

The model classifies every position between two characters from the surrounding character unigrams, bigrams and trigrams
(as in BudouX and TinySegmenter). It was trained on the output of jieba (MIT), MeCab with unidic-lite (BSD) and
PyThaiNLP's newmm (Apache-2.0). Agreement with those segmenters (not with human annotations) on out-of-domain text
(everyday dialogue and the declaration of human rights, 82,000 characters):

                          F1 of words   of boundaries   ratio of word counts
    Chinese, simplified         0.859           0.936                  0.95
    Chinese, traditional        0.828           0.918                  0.98   (jieba on the simplified form)
    Japanese                    0.915           0.964                  1.01
    Thai                        0.759           0.896                  1.12

(`tests/benchmarks/segmenter.py`, which also trains the model). All shared columns are computed at 27, 28 and 38 MB/s of
Chinese, Japanese and Thai on one core; jieba alone runs at 0.6, MeCab at 1.5, newmm at 1.3. The weights
(`boundaries.npz`, small integers by hash, from which no text can be recovered) were trained on LibreOffice's help
(MPL-2.0), GNOME's help (CC BY-SA 3.0), GIMP's help (GFDL), manual pages and fortunes of Debian (various free licences,
GPL for the fortunes), titles of the Thai Wikipedia (CC BY-SA), and the word frequencies of jieba (MIT) and of the Thai
National Corpus by PyThaiNLP (CC0).

Lao, Khmer and Burmese have no model and are split before the first consonant of every syllable. A final consonant of
Lao or Khmer without a mark is a separate piece, so there are more pieces than words.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels.classes import BRAHMIC, HAN, KANA, MARK, SPACE, UNSPACED
from windtunnel.pipelines.features.kernels.tables import WEIGHT_BITS, WEIGHTS
from windtunnel.pipelines.features.kernels.utf8 import class_at

CHINESE, JAPANESE, THAI = 0, 1, 2
NO_LANGUAGE = -1  # no segmentation
KANA_SHARE = 20  # a text with at least one kana per this many Han characters is Japanese
SHIFT = np.uint64(64 - WEIGHT_BITS)
M1, M2, M3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)


@njit
def code_at(text, i):
    """Return (code point, length) of the character of two or more bytes that starts at byte i."""
    b = np.int64(text[i])
    if b < 0xE0:  # a combining mark after a letter
        return ((b & 0x1F) << 6) | (np.int64(text[i + 1]) & 0x3F), 2
    code = ((np.int64(text[i + 1]) & 0x3F) << 6) | (np.int64(text[i + 2]) & 0x3F)
    if b < 0xF0:
        return ((b & 0x0F) << 12) | code, 3
    return ((b & 0x07) << 18) | (code << 6) | (np.int64(text[i + 3]) & 0x3F), 4


@njit
def slot(a, b, c, template, language):
    """Return the index of the weight of up to three code points (0: none), for one template and language."""
    h = np.uint64(a) * M1 ^ np.uint64(b) * M2 ^ np.uint64(c) * M3
    h = (h ^ (h >> np.uint64(29)) ^ np.uint64(template * 8 + language + 1) * M2) * M1
    return np.int64((h ^ (h >> np.uint64(32))) * M3 >> SHIFT)


@njit
def slots(p, q, r, s, t, u, language):
    """Return the weight indices of the position between r and s, in p q r | s t u (0: outside the run)."""
    alone = (
        slot(q, 0, 0, 0, language),
        slot(r, 0, 0, 1, language),
        slot(s, 0, 0, 2, language),
        slot(t, 0, 0, 3, language),
    )
    twos = (slot(q, r, 0, 4, language), slot(r, s, 0, 5, language), slot(s, t, 0, 6, language))
    threes = (slot(p, q, r, 7, language), slot(q, r, s, 8, language), slot(r, s, t, 9, language))
    return (*alone, *twos, *threes, slot(s, t, u, 10, language), slot(0, 0, 0, 15, language))


@njit
def is_boundary(p, q, r, s, t, u, language, table):
    """Return whether the model predicts a boundary between r and s."""
    total = 0
    for place in slots(p, q, r, s, t, u, language):
        byte = np.int64(table[WEIGHTS + (place >> 3)] >> np.uint64(8 * (place & 7))) & 0xFF
        total += byte - 256 if byte > 127 else byte
    return total > 0


@njit
def document_language(text, a, b, table):
    """Return CHINESE or JAPANESE, by the share of kana among the Han and kana characters of bytes a to b."""
    han = kana = 0
    i = a
    while i < b:
        if text[i] < 0xE2:
            i += 1
            continue
        c, size = class_at(text, i, table)
        han += (c & HAN) != 0
        kana += (c & KANA) != 0
        i += size
    return JAPANESE if kana * KANA_SHARE > han else CHINESE


@njit
def run_end(text, i, end, whole, table):
    """Return (end of the run from byte i on, whether its script is written without spaces).

    A run ends at white space and, unless `whole`, between scripts with and without spaces.
    """
    c, size = class_at(text, i, table)
    unspaced = (c & UNSPACED) != 0
    i += size
    while i < end:
        c, size = class_at(text, i, table)
        if c & SPACE or (not whole and ((c & UNSPACED) != 0) != unspaced and not c & MARK):
            break
        i += size
    return i, unspaced


@njit
def segment(text, a, b, language, table, cuts):
    """Write the ends of the words of an unspaced run into `cuts`; return their number."""
    first, size = code_at(text, a)
    if 0xE01 <= first <= 0xE4E:
        language = THAI
    elif class_at(text, a, table)[0] & BRAHMIC:
        return _syllables(text, a, b, table, cuts)
    n = 0
    p = q = 0
    r, i = first, a + size
    s, s_size = code_at(text, i) if i < b else (0, 0)
    t, t_size = code_at(text, i + s_size) if i + s_size < b else (0, 0)
    while i < b:
        after = i + s_size + t_size
        u, u_size = code_at(text, after) if after < b else (0, 0)
        if is_boundary(p, q, r, s, t, u, language, table):
            cuts[n] = i
            n += 1
        i += s_size
        p, q, r, s, t = q, r, s, t, u
        s_size, t_size = t_size, u_size
    cuts[n] = b
    return n + 1


@njit
def _syllables(text, a, b, table, cuts):
    """Split before every letter that begins a syllable, but not before its vowel or a joined or silent letter."""
    n = 0
    previous, i = code_at(text, a)
    i += a
    while i < b:
        c, size = class_at(text, i, table)
        code, _ = code_at(text, i)
        after, _ = code_at(text, i + size) if i + size < b else (0, 0)
        leading = 0xEC0 <= previous <= 0xEC4
        joined = previous == 0x17D2 or previous == 0x1039 or after == 0x103A or after == 0x1039
        trailing = code == 0xEB0 or code == 0xEB2 or code == 0xEB3 or code == 0xEBD
        if not (c & MARK or leading or trailing or joined):
            cuts[n] = i
            n += 1
        previous = code
        i += size
    cuts[n] = b
    return n + 1
