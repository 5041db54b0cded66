"""Count letters, words, items of a list, repeated and capitalised words."""

from __future__ import annotations

import random
import re
from typing import ClassVar

from windtunnel.generators.families._family import Family, FamilyTask, Fields, Item, phrase, plain_words

# Numbers are drawn first and then looked for, so that no answer is much more frequent than others.
LETTERS, WORDS, ITEMS, REPEATS, CAPITALS = (1, 5), (4, 12), (3, 10), (1, 6), (1, 6)
LIST = 8  # words of which some have a capital
PHRASE = 5  # words in which a letter is counted
OTHERS = 3  # words among which another one is repeated


def _letters(text: str, rng: random.Random, longest: int) -> Item | None:
    found = phrase(text, rng, min(PHRASE, longest))
    if found is None:
        return None
    shown, wanted = " ".join(found).lower(), rng.randint(*LETTERS)
    counts = {letter: shown.count(letter) for letter in sorted(set(shown) - {" "})}
    nearest = min(abs(n - wanted) for n in counts.values())
    letter = rng.choice([letter for letter, n in counts.items() if abs(n - wanted) == nearest])
    return Item({"text": shown, "letter": letter}, str(counts[letter]))


def _words(text: str, rng: random.Random, longest: int) -> Item | None:
    found = phrase(text, rng, min(rng.randint(*WORDS), longest))
    return Item({"text": " ".join(found)}, str(len(found))) if found else None


def _items(text: str, rng: random.Random, longest: int) -> Item | None:
    found = plain_words(text, rng, min(rng.randint(*ITEMS), longest))
    return Item({"items": ", ".join(found)}, str(len(found))) if found else None


def _repeats(text: str, rng: random.Random, longest: int) -> Item | None:
    found, number = plain_words(text, rng, OTHERS + 1), rng.randint(*REPEATS)
    if found is None or number + OTHERS > longest:
        return None
    word, *others = found
    shown = [word] * number + others
    rng.shuffle(shown)
    return Item({"word": word, "items": ", ".join(shown)}, str(number))


def _capitals(text: str, rng: random.Random, longest: int) -> Item | None:
    """Return a list in which a number of words got a capital; in running text one or two are far the most frequent."""
    found = plain_words(text, rng, LIST)
    if found is None:
        return None
    number = rng.randint(*CAPITALS)
    large = set(rng.sample(range(LIST), number))
    shown = [word.capitalize() if place in large else word for place, word in enumerate(found)]
    return Item({"items": ", ".join(shown)}, str(number))


def _is_letters(fields: Fields, answer: str) -> bool:
    return answer == str(len(fields["text"].split(fields["letter"])) - 1)


def _is_repeats(fields: Fields, answer: str) -> bool:
    return answer == str(len(re.findall(rf"\b{fields['word']}\b", fields["items"])))


class Counting(Family):
    """Answers are numbers in digits."""

    gives: ClassVar[str] = (
        "The old mill stands beside a narrow river in the north of the long valley and it was built by two brothers. "
        "John Miller sold it to Mary. Nobody has lived there since the fire."
    )
    tasks: ClassVar = {
        "letters": FamilyTask(
            _letters,
            _is_letters,
            (
                'How often does the letter "{letter}" occur in "{text}"? Answer with a number only.',
                'Text: {text}\nHow many times is "{letter}" written in it?',
                'Count the letter "{letter}" in these words: {text}',
                'In "{text}", how many letters are "{letter}"? Write the number in digits.',
                '{text}\n\nNumber of times the letter "{letter}" stands above:',
            ),
        ),
        "words": FamilyTask(
            _words,
            lambda fields, answer: answer == str(fields["text"].count(" ") + 1),
            (
                'How many words are in "{text}"? Answer with a number only.',
                "Count the words.\n{text}",
                "{text}\n\nHow many words does the line above have? Use digits.",
                "Text: {text}\nNumber of words:",
                "Of how many words is this made?\n{text}",
            ),
        ),
        "items": FamilyTask(
            _items,
            lambda fields, answer: answer == str(fields["items"].count(",") + 1),
            (
                "How many things are on this list? Answer with a number only.\n{items}",
                "List: {items}\nNumber of entries:",
                "{items}\n\nCount the entries of the list above.",
                "I wrote down {items}. How many words did I write down? Give the number in digits.",
                "Count what is named here: {items}",
            ),
        ),
        "repeated_word": FamilyTask(
            _repeats,
            _is_repeats,
            (
                'How many times is the word "{word}" in this list? Answer with a number only.\n{items}',
                'List: {items}\nHow often does it say "{word}"?',
                '{items}\n\nCount how often "{word}" stands above. Use digits.',
                'Number of times that "{word}" is repeated in {items}:',
                'Look at the list and count "{word}".\n\n{items}',
            ),
        ),
        "capitals": FamilyTask(
            _capitals,
            lambda fields, answer: answer == str(len(re.findall("[A-Z]", fields["items"]))),
            (
                "How many words of this list begin with a capital letter? Answer with a number only.\n{items}",
                "{items}\n\nCount the words above that start with a capital.",
                "List: {items}\nWords with a capital at the start:",
                "Count the capitalised words among {items} and write the number in digits.",
                "How many words here have a large first letter?\n{items}",
            ),
        ),
    }
