"""Write given words in a given form: between signs, numbered, as JSON, in a tag, repeated."""

from __future__ import annotations

import json
import random
from typing import ClassVar

from windtunnel.generators.families._family import Family, FamilyTask, Fields, Item, parts_of, plain_words

SIZES = (2, 4)  # words of a list
REPEATS = (2, 5)
SIGNS = ("|", "/", ">", "+", ";", "&", "=", "~")
TAGS = ("b", "item", "word", "name", "key", "q")


def _separated(text: str, rng: random.Random, longest: int) -> Item | None:
    words, sign = plain_words(text, rng, rng.randint(*SIZES)), rng.choice(SIGNS)
    return Item({"items": ", ".join(words), "sign": sign}, f" {sign} ".join(words)) if words else None


def _numbered(text: str, rng: random.Random, longest: int) -> Item | None:
    words = plain_words(text, rng, rng.randint(*SIZES))
    if not words:
        return None
    return Item({"items": ", ".join(words)}, " ".join(f"{n}) {word}" for n, word in enumerate(words, start=1)))


def _as_json(text: str, rng: random.Random, longest: int) -> Item | None:
    words = plain_words(text, rng, 2)
    if not words:
        return None
    return Item({"first": words[0], "last": words[1]}, f'{{"first": "{words[0]}", "last": "{words[1]}"}}')


def _tagged(text: str, rng: random.Random, longest: int) -> Item | None:
    words, tag = plain_words(text, rng, 1), rng.choice(TAGS)
    return Item({"word": words[0], "tag": tag}, f"<{tag}>{words[0]}</{tag}>") if words else None


def _repeated(text: str, rng: random.Random, longest: int) -> Item | None:
    words, number = plain_words(text, rng, 1), rng.randint(*REPEATS)
    return Item({"word": words[0], "number": str(number)}, " ".join(words * number)) if words else None


def _is_separated(fields: Fields, answer: str) -> bool:
    return answer.split(f" {fields['sign']} ") == parts_of(fields["items"]) and "," not in answer


def _is_numbered(fields: Fields, answer: str) -> bool:
    tokens, words = answer.split(), parts_of(fields["items"])
    return tokens[1::2] == words and [token.rstrip(")") for token in tokens[::2]] == [
        str(n + 1) for n in range(len(words))
    ]


def _is_json(fields: Fields, answer: str) -> bool:
    try:
        return json.loads(answer) == dict(fields)
    except ValueError:
        return False


def _is_tagged(fields: Fields, answer: str) -> bool:
    head, _, tail = answer.partition(fields["word"])
    return (head, tail) == (f"<{fields['tag']}>", f"</{fields['tag']}>")


def _is_repeated(fields: Fields, answer: str) -> bool:
    return set(answer.split()) == {fields["word"]} and answer.count(" ") + 1 == int(fields["number"])


class FormatFollowing(Family):
    """What is to be written is given, and the form counts."""

    gives: ClassVar[str] = "The old mill stands beside a narrow river and was built long ago by two careful brothers."
    tasks: ClassVar = {
        "separated": FamilyTask(
            _separated,
            _is_separated,
            (
                'Write these words with " {sign} " between them instead of commas: {items}',
                "{items}\n\nSeparate the words by {sign} with a space on each side. Write the result only.",
                "Words: {items}\nSign between them: {sign}\nResult:",
                'Replace the commas by " {sign} ".\n{items}',
                "Set the sign {sign}, with spaces around it, between {items}.",
            ),
        ),
        "numbered": FamilyTask(
            _numbered,
            _is_numbered,
            (
                "Number these words on one line, in the form 1) 2) 3): {items}",
                "{items}\n\nPut 1), 2) and so on before the words, all on one line, without commas.",
                "Words: {items}\nNumbered as 1) ... 2) ... on one line:",
                "List {items} as 1) and so on. Keep to one line and leave the commas out.",
                "Give each word its number and a bracket, such as 1), on a single line without commas.\n{items}",
            ),
        ),
        "json": FamilyTask(
            _as_json,
            _is_json,
            (
                'Write a JSON object with "first" set to "{first}" and "last" set to "{last}".',
                "first: {first}\nlast: {last}\n\nGive this as one line of JSON.",
                'JSON with the keys "first" and "last" and the values "{first}" and "{last}", nothing else:',
                'Turn "first is {first}, last is {last}" into JSON. Keep to one line.',
                'The first word is {first} and the last is {last}. Answer as {{"first": ..., "last": ...}}.',
            ),
        ),
        "tag": FamilyTask(
            _tagged,
            _is_tagged,
            (
                'Put the word "{word}" between the tags <{tag}> and </{tag}>.',
                "{word}\n\nWrap this in the HTML element {tag}. Write the element only.",
                "Word: {word}\nTag: {tag}\nMarked up:",
                'Mark "{word}" up with an opening and a closing "{tag}" tag, without spaces.',
                "What is the element {tag} with the content {word} in HTML?",
            ),
        ),
        "repeated": FamilyTask(
            _repeated,
            _is_repeated,
            (
                'Write the word "{word}" {number} times on one line, with spaces between.',
                "{word}\n\nRepeat this {number} times, separated by single spaces.",
                "Word: {word}\nNumber of times: {number}\nLine:",
                'Say "{word}" {number} times. Use spaces and nothing else.',
                "Fill a line with {number} copies of {word}, a space after each but the last.",
            ),
        ),
    }
