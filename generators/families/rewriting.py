"""Rewrite a phrase by a rule: turn it round, replace, leave out, join, abbreviate."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import ClassVar

from windtunnel.generators.families._family import Family, FamilyTask, Fields, Item, phrase, plain_words

SIZES = (3, 6)  # words of a phrase


def _rewritten(rule: Callable[[list[str]], str]) -> Callable[[str, random.Random, int], Item | None]:
    """Return the maker of questions whose answer is a phrase after a rule."""

    def make(text: str, rng: random.Random, longest: int) -> Item | None:
        words = _distinct(text, rng, longest)
        return Item({"text": " ".join(words)}, rule(words)) if words else None

    return make


def _distinct(text: str, rng: random.Random, longest: int) -> list[str] | None:
    """Return a phrase in small letters in which no word stands twice."""
    words = [word.lower() for word in phrase(text, rng, min(rng.randint(*SIZES), longest)) or ()]
    return words if words and len(set(words)) == len(words) else None


def _replaced(text: str, rng: random.Random, longest: int) -> Item | None:
    words, others = _distinct(text, rng, longest), plain_words(text, rng, SIZES[1] + 1)
    if words is None or others is None:
        return None
    old, new = rng.choice(words), next(word for word in others if word not in words)
    answer = " ".join(new if word == old else word for word in words)
    return Item({"text": " ".join(words), "old": old, "new": new}, answer)


def _removed(text: str, rng: random.Random, longest: int) -> Item | None:
    words = _distinct(text, rng, longest)
    if words is None:
        return None
    word = rng.choice(words)
    return Item({"text": " ".join(words), "word": word}, " ".join(w for w in words if w != word))


def _is_reversed(fields: Fields, answer: str) -> bool:
    rest = fields["text"]
    for word in answer.split():  # each word of the answer must be the last one that is left
        head, _, tail = rest.rpartition(" ")
        if tail != word:
            return False
        rest = head
    return rest == "" and bool(answer)


def _is_initials(fields: Fields, answer: str) -> bool:
    after_space = [c for before, c in zip(" " + fields["text"], fields["text"], strict=False) if before == " "]
    return list(answer) == after_space


def _is_replaced(fields: Fields, answer: str) -> bool:
    padded = f" {fields['text']} "
    return f" {answer} " == padded.replace(f" {fields['old']} ", f" {fields['new']} ") != padded


def _is_removed(fields: Fields, answer: str) -> bool:
    padded = f" {fields['text']} "
    return bool(answer) and f" {answer} " == padded.replace(f" {fields['word']} ", " ") != padded


class Rewriting(Family):
    """Phrases of three to six different words in small letters."""

    gives: ClassVar[str] = "The old mill stands beside a narrow river and was built long ago by two careful brothers."
    tasks: ClassVar = {
        "reverse_words": FamilyTask(
            _rewritten(lambda words: " ".join(reversed(words))),
            _is_reversed,
            (
                "Write these words in reverse order, the last one first: {text}",
                "{text}\n\nTurn the order of the words round. Write the words only.",
                "Words: {text}\nBackwards, word by word:",
                'What is "{text}" when its words are read from the end to the beginning?',
                "Begin with the last word and end with the first.\n{text}",
            ),
        ),
        "hyphens": FamilyTask(
            _rewritten("-".join),
            lambda fields, answer: answer.split("-") == fields["text"].split() and " " not in answer,
            (
                "Join these words with hyphens: {text}",
                '{text}\n\nReplace every space above by "-". Write the result only.',
                "Text: {text}\nWith hyphens:",
                'How does "{text}" look with a hyphen between the words instead of a space?',
                "Connect the words by hyphens, without spaces.\n{text}",
            ),
        ),
        "initials": FamilyTask(
            _rewritten(lambda words: "".join(word[0] for word in words)),
            _is_initials,
            (
                "Write the first letter of each word, without spaces: {text}",
                "{text}\n\nWhich letters do the words begin with? Write them together.",
                "Words: {text}\nFirst letters, joined:",
                'Shorten "{text}" to the first letters of its words. Answer with the letters only, as one word.',
                "Make one word of the letters that these words start with.\n{text}",
            ),
        ),
        "replace_word": FamilyTask(
            _replaced,
            _is_replaced,
            (
                'Replace "{old}" by "{new}" in this text: {text}',
                '{text}\n\nWrite the line again with "{new}" in place of "{old}", and nothing else.',
                'Text: {text}\nChange "{old}" to "{new}":',
                'What does "{text}" become if "{old}" is exchanged for "{new}"?',
                'Put "{new}" where it says "{old}".\n{text}',
            ),
        ),
        "remove_word": FamilyTask(
            _removed,
            _is_removed,
            (
                'Leave out the word "{word}": {text}',
                '{text}\n\nWrite this again without "{word}". Add nothing.',
                'Text: {text}\nWithout "{word}":',
                'What is left of "{text}" when "{word}" is taken away?',
                'Delete "{word}" and keep the other words as they are.\n{text}',
            ),
        ),
    }
