"""Indices into the i64 array of the pass over a document: its state, its settings and its columns."""

from __future__ import annotations

# words
(
    WORDS,
    NON_SYMBOL_WORDS,
    NON_SYMBOL_CHARS,
    ALPHA_WORDS,
    STOP_BITS,
    SPAN,  # index of the next given word span
    # the line since the last newline
    LINE_START,  # byte
    LINE_CHARS_BEFORE,  # characters in the document before the line
    LINE_CHUNKS,
    # the line since the last break of any kind
    SPLIT_START,
    FIRST_BYTE,  # start of its first word, -1 if none yet
    LAST_BYTE,  # end of its last word so far
    PIECES,
    LONGEST,
    SENTENCES,
    ENDED,  # whether a sentence has ended and the next has not begun
    LINE_FLAGS,
    STOPPED,  # whether C4 has dropped the document
    # paragraphs
    PARAGRAPH_CHARS,
    PARAGRAPH_OPEN,
    # characters
    CONTINUATION,  # UTF-8 continuation bytes so far
    LETTERS,
    UPPERS,
    DIGITS,
    SPACES,
    SYMBOLS,
    ELLIPSES,
    FIRST_CHUNK,  # byte of the document's first non-space character, and the end of its last
    LAST_CHUNK,
    RUN_LANGUAGE,  # 1 + language of text without spaces, 0 until it is determined
    DOCUMENT_START,
    DOCUMENT_END,
    LETTER_WORDS,  # words of ASCII letters and their characters, not included in the counts above
    LETTER_WORD_CHARS,
) = range(34)
RULES, OUT, STATE_SIZE = 40, 56, 120  # offsets of the settings and the columns, and the size of the array

# bits of LINE_FLAGS
HAS_JAVASCRIPT, HAS_LOREM, HAS_CURLY, HAS_POLICY, HAS_BRACKET = 1, 2, 4, 8, 16

# bits of a word's flags
HAS_ALPHA, HAS_NON_SYMBOL, ALL_PUNCTUATION, ENDS_SENTENCE = 1, 2, 4, 8

# settings of the pass
(
    SHORT_LINE_CHARS,
    C4_TERMINAL,
    C4_CITATIONS,
    C4_MIN_WORDS,
    C4_MAX_WORD_CHARS,
    C4_JAVASCRIPT,
    C4_POLICY,
    C4_LOREM,
    C4_CURLY,
    C4_UNSPACED,
) = range(RULES, RULES + 10)
RULE_FIELDS = (
    "short_line_chars",
    "c4_terminal_punctuation",
    "c4_citations",
    "c4_min_words_per_line",
    "c4_max_word_chars",
    "c4_javascript",
    "c4_policy",
    "c4_lorem_ipsum",
    "c4_curly_bracket",
    "c4_unspaced_words",
)
