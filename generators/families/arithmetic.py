"""Calculate: sums, differences, products, the largest number and the next of a sequence."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

from windtunnel.generators.families._family import Family, FamilyTask, Fields, Item, parts_of

TERMS, FACTORS, NUMBERS, STEPS = (10, 99), (3, 19), (10, 999), (2, 12)
CHOICES = 4  # numbers of which the largest is asked; guessing is right in one of four
SHOWN = 4  # numbers of a sequence

Make = Callable[[str, random.Random, int], Item]


def _pair(bounds: tuple[int, int], result: Callable[[int, int], int]) -> Make:
    """Return the maker of questions about two numbers, the larger first."""

    def make(text: str, rng: random.Random, longest: int) -> Item:
        b, a = sorted(rng.sample(range(bounds[0], bounds[1] + 1), 2))
        return Item({"a": str(a), "b": str(b)}, str(result(a, b)))

    return make


def _largest(text: str, rng: random.Random, longest: int) -> Item:
    numbers = rng.sample(range(NUMBERS[0], NUMBERS[1] + 1), CHOICES)
    return Item({"items": ", ".join(map(str, numbers))}, str(max(numbers)))


def _next(text: str, rng: random.Random, longest: int) -> Item:
    start, step = rng.randint(*TERMS), rng.randint(*STEPS) * rng.choice((1, -1))
    start = start if step > 0 else start - SHOWN * step  # stays above zero
    shown = [start + k * step for k in range(SHOWN)]
    return Item({"items": ", ".join(map(str, shown))}, str(start + SHOWN * step))


def _is_sum(fields: Fields, answer: str) -> bool:
    return answer.isdigit() and int(answer) - int(fields["a"]) == int(fields["b"])


def _is_difference(fields: Fields, answer: str) -> bool:
    return answer.isdigit() and int(answer) + int(fields["b"]) == int(fields["a"])


def _is_product(fields: Fields, answer: str) -> bool:
    return answer.isdigit() and sum([int(fields["a"])] * int(fields["b"])) == int(answer)


def _is_largest(fields: Fields, answer: str) -> bool:
    return answer in parts_of(fields["items"]) and not any(
        len(n) > len(answer) or (len(n) == len(answer) and n > answer) for n in parts_of(fields["items"])
    )


def _continues(fields: Fields, answer: str) -> bool:
    if not re.fullmatch(r"\d+", answer):
        return False
    numbers = [int(n) for n in (*parts_of(fields["items"]), answer)]
    return len({b - a for a, b in pairwise(numbers)}) == 1


class Arithmetic(Family):
    """Whole numbers in digits, none below zero. The document gives the seed and nothing else."""

    gives: ClassVar[str] = "Nothing of this is read."
    tasks: ClassVar = {
        "addition": FamilyTask(
            _pair(TERMS, lambda a, b: a + b),
            _is_sum,
            (
                "What is {a} + {b}? Answer with a number only.",
                "{a} + {b} =",
                "Add {a} and {b}.",
                "In a tree are {a} birds, and {b} more arrive. How many are there now? Write the number in digits.",
                "Compute the sum of {a} and {b}.",
            ),
        ),
        "subtraction": FamilyTask(
            _pair(TERMS, lambda a, b: a - b),
            _is_difference,
            (
                "What is {a} - {b}? Answer with a number only.",
                "{a} - {b} =",
                "Take {b} away from {a}.",
                "A box holds {a} nails, and {b} are used. How many are left? Write the number in digits.",
                "By how much is {a} larger than {b}?",
            ),
        ),
        "multiplication": FamilyTask(
            _pair(FACTORS, lambda a, b: a * b),
            _is_product,
            (
                "What is {a} times {b}? Answer with a number only.",
                "{a} x {b} =",
                "Multiply {a} by {b}.",
                "There are {b} shelves with {a} books on each. How many books are there? Write the number in digits.",
                "Compute the product of {a} and {b}.",
            ),
        ),
        "largest": FamilyTask(
            _largest,
            _is_largest,
            (
                "Which of these numbers is the largest? Answer with the number only.\n{items}",
                "{items}\n\nWhat is the greatest number above?",
                "Numbers: {items}\nLargest:",
                "Choose the highest of {items}. Write one number.",
                "None of {items} is above one of them. Which one?",
            ),
        ),
        "next_number": FamilyTask(
            _next,
            _continues,
            (
                "Which number comes next? Answer with a number only.\n{items}",
                "{items}\n\nContinue the sequence by one number.",
                "Sequence: {items}\nNext:",
                "The numbers {items} follow a rule. What would be the next one? Write it in digits.",
                "After {items} there follows",
            ),
        ),
    }
