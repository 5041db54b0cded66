"""Take the only year, number, abbreviation, the longest or the last word out of a passage."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import ClassVar

from windtunnel.generators.families._family import Family, FamilyTask, Fields, Item, passage

TRIES = 4  # passages of a document, since many hold no year
_YEAR = re.compile(r"(?<![\w.,/-])(?:1\d\d\d|20\d\d)(?![\w/-]|[.,]\d)")
_NUMBER = re.compile(r"(?<![\w.,])\d{1,6}(?![\w]|[.,]\d)")
_ABBREVIATION = re.compile(r"\(([A-Z]{2,6})\)")
_LETTERS = re.compile(r"[^\W\d_]+")


def _only(found: Callable[[str], list[str]]) -> Callable[[str, random.Random, int], Item | None]:
    """Return the maker of questions about the only thing of its kind in a passage."""

    def make(text: str, rng: random.Random, longest: int) -> Item | None:
        for _ in range(TRIES):
            shown = passage(text, rng, longest)
            if shown is not None and len(answers := found(shown)) == 1:
                return Item({"text": shown}, answers[0])
        return None

    return make


def _years(text: str) -> list[str]:
    """Return the years of a text; several where another number of four digits could be taken for one."""
    return _YEAR.findall(text) if len(re.findall(r"(?<!\d)\d{4}(?!\d)", text)) == 1 else []


def _numbers(text: str) -> list[str]:
    return _NUMBER.findall(text) if len(re.findall(r"\d+", text)) == 1 else []


def _last(text: str) -> list[str]:
    word = text.rstrip(".!?").rpartition(" ")[2]
    return [word] if word.isascii() and word.isalpha() else []


def _longest(text: str) -> list[str]:
    """Return the longest word, nothing where it is not the only one or could be counted in another way."""
    words = {word.strip(".,;:!?\"'()“”").casefold() for word in text.split()}
    size = max(map(len, words))
    longest = [word for word in words if len(word) == size]
    return longest if longest[0].isascii() and longest[0].isalpha() else []


def _digits(text: str) -> list[str]:
    """Return the runs of digits of a text, character by character."""
    return "".join(c if c in "0123456789" else " " for c in text).split()


def _is_year(fields: Fields, answer: str) -> bool:
    return [run for run in _digits(fields["text"]) if len(run) == 4] == [answer] and 1000 <= int(answer) < 2100


def _is_abbreviation(fields: Fields, answer: str) -> bool:
    inside = [part.partition(")")[0] for part in fields["text"].split("(")[1:]]
    return [part for part in inside if part.isalpha() and part.isupper() and 1 < len(part) < 7] == [answer]


def _is_longest(fields: Fields, answer: str) -> bool:
    sizes = sorted(
        {word.casefold(): len(word) for word in _LETTERS.findall(fields["text"])}.items(), key=lambda w: w[1]
    )
    return sizes[-1][0] == answer.casefold() and (len(sizes) == 1 or sizes[-2][1] < sizes[-1][1])


def _is_last(fields: Fields, answer: str) -> bool:
    return _LETTERS.findall(fields["text"])[-1:] == [answer]


class Extraction(Family):
    """The passage holds exactly one answer; years and numbers are those that are written in digits."""

    gives: ClassVar[str] = "The Old Watermill Trust (OWT) was founded in 1843 by two brothers from the river."
    tasks: ClassVar = {
        "year": FamilyTask(
            _only(_years),
            _is_year,
            (
                "Which year is named in this text? Answer with the year only.\n{text}",
                "{text}\n\nWhat year does the passage mention?",
                "Find the year.\nText: {text}\nYear:",
                "Read the following and write down the one year in it, nothing else.\n\n{text}",
                "{text}\n\nQuestion: Which year occurs above? Give four digits.",
                "Here is a passage.\n{text}\nThe year it speaks of is",
            ),
        ),
        "number": FamilyTask(
            _only(_numbers),
            lambda fields, answer: _digits(fields["text"]) == [answer],
            (
                "One number is written in digits in this text. Which?\n{text}",
                "{text}\n\nCopy the number that stands in digits above. Write the number only.",
                "Text: {text}\nNumber in digits:",
                "Which number, written in digits, does the passage hold? Answer with it alone.\n\n{text}",
                "{text}\n\nThere are digits in this passage. What number do they make?",
            ),
        ),
        "abbreviation": FamilyTask(
            _only(_ABBREVIATION.findall),
            _is_abbreviation,
            (
                "Which abbreviation stands in brackets in this text?\n{text}",
                "{text}\n\nWrite the abbreviation that is given in brackets, without the brackets.",
                "Find the short form in brackets.\nText: {text}\nShort form:",
                "The passage puts capital letters in brackets. Which ones? Reply with the letters only.\n\n{text}",
                "{text}\n\nWhat are the capital letters between the brackets?",
            ),
        ),
        "longest_word": FamilyTask(
            _only(_longest),
            _is_longest,
            (
                "What is the longest word of this text? Write that word only.\n{text}",
                "{text}\n\nWhich word above has the most letters?",
                "Text: {text}\nLongest word:",
                "Find the word with the greatest number of letters in the passage. One word is enough.\n\n{text}",
                "{text}\n\nOf all words in this passage, name the longest one.",
            ),
        ),
        "last_word": FamilyTask(
            _only(_last),
            _is_last,
            (
                "What is the last word of this text? Answer with one word.\n{text}",
                "{text}\n\nWith which word does the passage end?",
                "Text: {text}\nLast word:",
                "Write the word that ends the following passage and nothing more.\n\n{text}",
                "{text}\n\nCopy the final word of the text.",
            ),
        ),
    }
