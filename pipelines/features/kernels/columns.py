"""The shared columns, in the order in which kernels fill them."""

from __future__ import annotations

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher's, for English
MOST_STOP_WORDS = 62  # one bit each

COLUMNS = (
    "bytes",
    "characters",
    "words",
    "non_symbol_words",  # words with a character that is not a symbol
    "non_symbol_word_chars",  # their characters
    "alpha_words",  # words with a letter
    "stop_words",  # number of distinct stop words (STOP_WORDS or those of a rule)
    "hashes",
    "ellipses",  # "..." and "…"
    "lines",  # as in str.splitlines
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
    "long_paragraphs",  # lines of at least 200 characters
    "c4_lines",  # lines kept by C4's rules
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
