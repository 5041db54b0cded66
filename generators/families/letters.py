"""Change short strings of letters: sort them, turn them round, double, leave out, change the case of one.

The strings are made up, so that a model of a million parameters with small tokens can learn the tasks in minutes.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import ClassVar

from windtunnel.generators.families._family import Family, FamilyTask, Fields, Item

LETTERS = "abcdefghij"
NUMBER = (4, 5)  # letters of a string


def _string(rng: random.Random) -> list[str]:
    """Return different letters that are not in order either way."""
    while True:
        letters = rng.sample(LETTERS, rng.randint(*NUMBER))
        if letters not in (sorted(letters), sorted(letters, reverse=True)):
            return letters


def _shown(letters: list[str], answer: list[str], **more: str) -> Item:
    return Item({"letters": " ".join(letters), **more}, " ".join(answer))


def _sorted(text: str, rng: random.Random, longest: int) -> Item:
    letters = _string(rng)
    return _shown(letters, sorted(letters))


def _turned(text: str, rng: random.Random, longest: int) -> Item:
    letters = _string(rng)
    return _shown(letters, letters[::-1])


def _doubled(text: str, rng: random.Random, longest: int) -> Item:
    letters = _string(rng)[: NUMBER[0]]
    return _shown(letters, [each for letter in letters for each in (letter, letter)])


def _without(text: str, rng: random.Random, longest: int) -> Item:
    letters = _string(rng)
    out = rng.choice(letters)
    return _shown(letters, [letter for letter in letters if letter != out], out=out)


def _rotated(text: str, rng: random.Random, longest: int) -> Item:
    letters = _string(rng)
    return _shown(letters, [*letters[1:], letters[0]])


def _is_sorted(fields: Fields, answer: str) -> bool:
    given = answer.split(" ")
    return Counter(given) == Counter(fields["letters"].split(" ")) and all(a < b for a, b in pairwise(given))


def _is_turned(fields: Fields, answer: str) -> bool:
    return answer == "".join(reversed(fields["letters"]))


def _is_doubled(fields: Fields, answer: str) -> bool:
    given = answer.split(" ")
    return given[::2] == given[1::2] and " ".join(given[::2]) == fields["letters"]


def _is_without(fields: Fields, answer: str) -> bool:
    place = fields["letters"].split(" ").index(fields["out"])
    given = answer.split(" ")
    return " ".join([*given[:place], fields["out"], *given[place:]]) == fields["letters"]


def _is_rotated(fields: Fields, answer: str) -> bool:
    given = answer.split(" ")
    return " ".join([given[-1], *given[:-1]]) == fields["letters"]


class Letters(Family):
    """Strings of four or five different small letters with spaces between them; a document only gives the seed."""

    gives: ClassVar[str] = "Any text."
    tasks: ClassVar = {
        "sorted_letters": FamilyTask(
            _sorted,
            _is_sorted,
            (
                "sort: {letters}",
                "{letters}\nin order:",
                "put {letters} in the order of the alphabet",
                "alphabetical order of {letters}",
                "Sort the letters. {letters}",
            ),
        ),
        "turned_letters": FamilyTask(
            _turned,
            _is_turned,
            (
                "turn round: {letters}",
                "{letters}\nbackwards:",
                "write {letters} from the last to the first",
                "the reverse of {letters}",
                "Read it backwards. {letters}",
            ),
        ),
        "doubled_letters": FamilyTask(
            _doubled,
            _is_doubled,
            (
                "double: {letters}",
                "{letters}\neach letter twice:",
                "write every letter of {letters} two times",
                "{letters} with all letters doubled",
                "Repeat each letter once. {letters}",
            ),
        ),
        "letters_without_one": FamilyTask(
            _without,
            _is_without,
            (
                "drop {out}: {letters}",
                "{letters}\nwithout {out}:",
                "leave {out} out of {letters}",
                "{letters} minus the letter {out}",
                "Take {out} away. {letters}",
            ),
        ),
        "first_letter_last": FamilyTask(
            _rotated,
            _is_rotated,
            (
                "first to the end: {letters}",
                "{letters}\nthe first one last:",
                "write {letters} with the first letter at the end",
                "{letters}, but the first letter moves to the end",
                "Put the first letter last. {letters}",
            ),
        ),
    }
