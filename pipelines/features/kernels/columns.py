"""The shared columns, in the order in which kernels fill them."""

from __future__ import annotations

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher's, for English
MOST_STOP_WORDS = 62  # a bit each

COLUMNS = (
    "bytes",
    "characters",
    "words",
    "non_symbol_words",  # words with a character that is no symbol
    "non_symbol_word_chars",  # their characters
    "alpha_words",  # words with a letter
    "stop_words",  # how many of STOP_WORDS, or of those that a rule asks for
    "hashes",
    "ellipses",  # "..." and "…"
    "lines",  # as str.splitlines gives them
    "bullet_lines",
    "ellipsis_lines",
    "newlines",
    "paragraphs",  # between blank lines
    "duplicate_paragraphs",
    "duplicate_paragraph_chars",
    "line_runs",  # between runs of newlines
    "duplicate_line_runs",
    "duplicate_line_run_chars",
    "nonblank_lines",
    "punctuated_lines",
    "short_lines",
    "duplicate_line_chars",
    "long_paragraphs",  # lines of 200 characters and more
    "c4_lines",  # lines that C4's rules keep
    "c4_sentences",  # sentences in them
    "c4_lorem_ipsum",
    "c4_curly_bracket",
    "letter_chars",
    "upper_chars",
    "digit_chars",
    "space_chars",
    "symbol_chars",
    "top_2_gram_chars",
    "top_3_gram_chars",
    "top_4_gram_chars",
    "duplicate_5_gram_chars",
    "duplicate_6_gram_chars",
    "duplicate_7_gram_chars",
    "duplicate_8_gram_chars",
    "duplicate_9_gram_chars",
    "duplicate_10_gram_chars",
)
INDEX = {name: place for place, name in enumerate(COLUMNS)}
