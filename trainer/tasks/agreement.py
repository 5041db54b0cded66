"""Prefer the grammatical one of two made-up English sentences."""

from __future__ import annotations

import random
from typing import Literal

from pydantic import Field

from windtunnel.trainer.tasks._made_task import MadeTask
from windtunnel.trainer.tasks._pieces import Made

Phenomenon = Literal["subject_verb", "across_a_phrase", "determiner_noun", "reflexive", "there_is", "quantifier"]

# Nouns as (one, several, reflexive of one), verbs as (one, several).
PEOPLE = (
    ("girl", "girls", "herself"), ("boy", "boys", "himself"), ("woman", "women", "herself"), ("man", "men", "himself"),
    ("king", "kings", "himself"), ("queen", "queens", "herself"), ("mother", "mothers", "herself"),
    ("father", "fathers", "himself"), ("sister", "sisters", "herself"), ("brother", "brothers", "himself"),
)  # fmt: skip
THINGS = (
    ("house", "houses"), ("river", "rivers"), ("town", "towns"), ("book", "books"), ("tree", "trees"),
    ("road", "roads"), ("church", "churches"), ("ship", "ships"), ("song", "songs"), ("car", "cars"),
    ("school", "schools"),
    ("bridge", "bridges"), ("train", "trains"), ("garden", "gardens"),
)  # fmt: skip
STATES = (("is", "are"), ("was", "were"), ("has been", "have been"))
LOOKS = ("old", "small", "new", "large", "known", "famous", "important", "different")
ACTS = (("works", "work"), ("lives", "live"), ("plays", "play"), ("writes", "write"), ("comes", "come"), ("goes", "go"))
AROUND = ("near", "behind", "beside", "with", "before")
SAW = ("saw", "knew", "helped", "found", "asked", "saved")


class Agreement(MadeTask):
    """Pairs of short English sentences, one of which breaks agreement in number or gender, by phenomenon.

    `acc`: the good sentence is the likelier one (chance: one half), as in BLiMP (Warstadt et al. 2020), whose phenomena
    of agreement these are; the sentences are this project's own. `across_a_phrase` puts a noun of the other number
    between subject and verb. Half of the sentences of each phenomenon are about one, half about several.
    """

    phenomena: list[Phenomenon] = Field(
        ["subject_verb", "across_a_phrase", "determiner_noun", "reflexive", "there_is", "quantifier"], min_length=1
    )

    def parts(self) -> list[str]:
        return list(self.phenomena)

    def item(self, part: str, number: int, rng: random.Random) -> Made:
        good, bad = MAKERS[part](rng, number % 2)
        return Made(str(number), (), ((good,), (bad,)), part)


def _pair(form: str, good: str, bad: str) -> tuple[str, str]:
    return form.format(good), form.format(bad)


def _predicate(rng: random.Random, several: int) -> tuple[str, str]:
    """Return (right, wrong) predicates of a subject's number."""
    if rng.random() < 0.5:
        forms, rest = rng.choice(ACTS), rng.choice(("here", "there", "every day", "at home", "in the town"))
    else:
        forms, rest = rng.choice(STATES), rng.choice(LOOKS)
    return f"{forms[several]} {rest}", f"{forms[1 - several]} {rest}"


def _subject_verb(rng: random.Random, several: int) -> tuple[str, str]:
    noun = rng.choice(PEOPLE)[several]
    return _pair(f"The {noun} {{}}.", *_predicate(rng, several))


def _across_a_phrase(rng: random.Random, several: int) -> tuple[str, str]:
    subject, other = rng.choice(PEOPLE)[several], rng.choice(THINGS)[1 - several]
    return _pair(f"The {subject} {rng.choice(AROUND)} the {other} {{}}.", *_predicate(rng, several))


def _determiner_noun(rng: random.Random, several: int) -> tuple[str, str]:
    noun, who = rng.choice(THINGS), rng.choice(PEOPLE)[rng.randrange(2)]
    word = rng.choice((("this", "these"), ("that", "those")))[several]
    return _pair(f"The {who} {rng.choice(SAW)} {word} {{}}.", noun[several], noun[1 - several])


def _reflexive(rng: random.Random, several: int) -> tuple[str, str]:
    one, many, self_ = rng.choice(PEOPLE)
    wrong = ("themselves", {"herself": "himself", "himself": "herself"}[self_])[rng.randrange(2)]
    form = f"The {many if several else one} {rng.choice(SAW)} {{}}."
    return _pair(form, "themselves", self_) if several else _pair(form, self_, wrong)


def _there_is(rng: random.Random, several: int) -> tuple[str, str]:
    noun, verb = rng.choice(THINGS), rng.choice(STATES[:2])
    start = (f"one {noun[0]}", f"{rng.choice(('two', 'many', 'several', 'three'))} {noun[1]}")[several]
    return _pair(f"There {{}} {start} in the {rng.choice(THINGS)[0]}.", verb[several], verb[1 - several])


def _quantifier(rng: random.Random, several: int) -> tuple[str, str]:
    noun = rng.choice(PEOPLE)
    word = rng.choice(("many", "several", "both", "few")) if several else rng.choice(("every", "each", "one"))
    rest, _ = _predicate(rng, several)
    return _pair(f"{word.capitalize()} {{}} {rest}.", noun[several], noun[1 - several])


MAKERS = {
    "subject_verb": _subject_verb,
    "across_a_phrase": _across_a_phrase,
    "determiner_noun": _determiner_noun,
    "reflexive": _reflexive,
    "there_is": _there_is,
    "quantifier": _quantifier,
}
