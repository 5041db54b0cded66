"""Put words and numbers in order: by the alphabet either way, by size, by length, and find the first."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

from windtunnel.generators.families._family import Family, FamilyTask, Fields, Item, parts_of, plain_words

NUMBER = 4  # of words or numbers
CHOICES = 5  # words of which the first is asked; guessing is right in one of five
LARGEST = 999


def _listed(chosen: list[str], answer: list[str]) -> Item:
    """Return the question on a list, which is turned round where it is in order already."""
    shown = chosen[::-1] if chosen == answer else chosen
    return Item({"items": ", ".join(shown)}, ", ".join(answer))


def _alphabetical(text: str, rng: random.Random, longest: int) -> Item | None:
    words = plain_words(text, rng, NUMBER)
    return _listed(words, sorted(words)) if words else None


def _descending(text: str, rng: random.Random, longest: int) -> Item | None:
    words = plain_words(text, rng, NUMBER)
    return _listed(words, sorted(words, reverse=True)) if words else None


def _numbers(text: str, rng: random.Random, longest: int) -> Item | None:
    numbers = rng.sample(range(1, LARGEST + 1), NUMBER)
    return _listed([str(n) for n in numbers], [str(n) for n in sorted(numbers)])


def _by_length(text: str, rng: random.Random, longest: int) -> Item | None:
    by_size = {len(word): word for word in plain_words(text, rng, 4 * NUMBER) or ()}
    if len(by_size) < NUMBER:
        return None
    words = rng.sample([by_size[size] for size in sorted(by_size)], NUMBER)
    return _listed(words, sorted(words, key=len))


def _first(text: str, rng: random.Random, longest: int) -> Item | None:
    words = plain_words(text, rng, CHOICES)
    return Item({"items": ", ".join(words)}, min(words)) if words else None


def _in_order(before: Callable[[str, str], bool]) -> Callable[[Fields, str], bool]:
    """Return the check that an answer has the parts of the list, and each pair of neighbours the right way round."""

    def verify(fields: Fields, answer: str) -> bool:
        shown, given = parts_of(fields["items"]), parts_of(answer)
        left = list(shown)
        for part in given:
            if part not in left:
                return False
            left.remove(part)
        return not left and all(before(*pair) for pair in pairwise(given))

    return verify


class Sorting(Family):
    """Lists of four with commas; words are of small letters, and no two of a list are alike in what orders them."""

    gives: ClassVar[str] = (
        "The old mill stands beside a narrow river and was built long ago by two brothers from the valley, who had "
        "an abandoned workshop there."
    )
    tasks: ClassVar = {
        "alphabetical": FamilyTask(
            _alphabetical,
            _in_order(lambda a, b: a < b),
            (
                "Sort these words alphabetically and write them on one line, with commas: {items}",
                "{items}\n\nPut the words above in alphabetical order.",
                "Words: {items}\nFrom A to Z:",
                "In which order would a dictionary list {items}? Separate the words with commas.",
                "Alphabetical order, please.\n{items}",
            ),
        ),
        "reverse_alphabetical": FamilyTask(
            _descending,
            _in_order(lambda a, b: a > b),
            (
                "Sort these words from Z to A and write them on one line, with commas: {items}",
                "{items}\n\nPut the words above in reverse alphabetical order.",
                "Words: {items}\nFrom Z to A:",
                "List {items} so that the last word of the dictionary comes first. Use commas.",
                "Order the words backwards by the alphabet.\n{items}",
            ),
        ),
        "numbers": FamilyTask(
            _numbers,
            _in_order(lambda a, b: int(a) < int(b)),
            (
                "Sort these numbers from the smallest to the largest, with commas between them: {items}",
                "{items}\n\nWrite the numbers in rising order.",
                "Numbers: {items}\nSmallest first:",
                "Bring {items} into ascending order. Answer with the numbers and commas only.",
                "Arrange by size, beginning with the least.\n{items}",
            ),
        ),
        "by_length": FamilyTask(
            _by_length,
            _in_order(lambda a, b: len(a) < len(b)),
            (
                "Sort these words by their number of letters, the shortest first, with commas: {items}",
                "{items}\n\nPut the words above in order of length, short to long.",
                "Words: {items}\nShortest to longest:",
                "Which order do {items} have if the word with the fewest letters comes first? Use commas.",
                "Order by length, from short to long.\n{items}",
            ),
        ),
        "first_word": FamilyTask(
            _first,
            lambda fields, answer: (
                answer in parts_of(fields["items"]) and all(answer <= word for word in parts_of(fields["items"]))
            ),
            (
                "Which of these words comes first in the alphabet? Answer with the word only.\n{items}",
                "{items}\n\nOne of these words would stand first in a dictionary. Which?",
                "Words: {items}\nFirst in alphabetical order:",
                "Out of {items}, pick the word that the alphabet puts first. Write one word.",
                "If the list were sorted from A to Z, what would it begin with?\n{items}",
            ),
        ),
    }
