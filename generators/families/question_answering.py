"""Answer a question about the opening sentences of an article."""

from __future__ import annotations

import random
import re
from typing import ClassVar

from windtunnel.generators.families._family import Family, FamilyTask, Fields, Item, parts_of, passage, sentences

# "Subject (remark) is a definition."; the subject begins with a capital and contains no clause.
_LEAD = re.compile(
    r"(?P<subject>[A-Z][^,.;:()\n]{1,60}?)(?: \([^()\n]{0,120}\))? "
    r"(?P<verb>is|was|are|were) (?P<definition>(?:a|an|the|one of) [^.;,()\n]{8,90})[.,]"
)
_PRONOUNS = frozenset({"It", "This", "That", "There", "He", "She", "They", "These", "Those", "What", "Here", "One"})
_WORD = re.compile(r"(?<![\w'’-])[a-z]{5,12}(?![\w'’-])")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{3,12}(?![\w'’-]| [A-Z])")  # one capitalised word within a sentence
CHOICES = 3  # guessing is right in one of three
MOST_WORDS = 12  # of a definition
GAP = "____"


def _opening(text: str, longest: int) -> str | None:
    """Return the first sentences of a text, at most `longest` words, None where the first is longer."""
    shown: list[str] = []
    for sentence in sentences(text):
        if len(" ".join([*shown, sentence]).split()) > longest:
            break
        shown.append(sentence)
    return " ".join(shown) or None


def _lead(text: str, longest: int) -> tuple[str, re.Match[str]] | None:
    """Return the opening of a text that defines a named subject, with the match of its definition."""
    shown = _opening(text, longest)
    match = _LEAD.match(shown) if shown else None
    if shown is None or match is None or match["subject"].split()[0] in _PRONOUNS:
        return None
    single = shown.count(match["definition"]) == 1
    return (shown, match) if single and len(match["definition"].split()) <= MOST_WORDS else None


def _subject(text: str, rng: random.Random, longest: int) -> Item | None:
    if (found := _lead(text, longest)) is None:
        return None
    shown, match = found
    return Item({"text": shown, "definition": f"{match['verb']} {match['definition']}"}, match["subject"])


def _definition(text: str, rng: random.Random, longest: int) -> Item | None:
    if (found := _lead(text, longest)) is None:
        return None
    shown, match = found
    return Item({"text": shown, "asked": f"{match['verb']} {match['subject']}"}, match["definition"])


def _gap(text: str, rng: random.Random, longest: int) -> Item | None:
    """Return a passage and one of its sentences, in which a word of the passage is missing."""
    shown = passage(text, rng, longest // 2)
    if shown is None:
        return None
    sentence = rng.choice(sentences(shown))
    words = [word for word in _WORD.findall(sentence) if sentence.count(word) == 1]
    if not words or shown.count(sentence) != 1:
        return None
    word = rng.choice(words)
    return Item({"text": shown, "gapped": sentence.replace(word, GAP)}, word)


def _first_named(text: str, rng: random.Random, longest: int) -> Item | None:
    shown = passage(text, rng, longest)
    names = [name for name in dict.fromkeys(_NAME.findall(shown or "")) if shown and shown.count(name) == 1]
    if shown is None or len(names) < CHOICES:
        return None
    chosen = rng.sample(names, CHOICES)
    return Item({"text": shown, "choices": ", ".join(chosen)}, min(chosen, key=shown.find))


def _which_word(text: str, rng: random.Random, longest: int) -> Item | None:
    """Return a passage, and three words of the document of which one stands in the passage."""
    shown = passage(text, rng, longest)
    if shown is None:
        return None
    low, known = shown.casefold(), sorted(set(_WORD.findall(text)))
    inside = [word for word in known if word in _WORD.findall(shown)]
    outside = [word for word in known if word not in low]
    if not inside or len(outside) < CHOICES - 1:
        return None
    answer = rng.choice(inside)
    choices = [answer, *rng.sample(outside, CHOICES - 1)]
    rng.shuffle(choices)
    return Item({"text": shown, "choices": ", ".join(choices)}, answer)


def _is_subject(fields: Fields, answer: str) -> bool:
    head = fields["text"].partition(f" {fields['definition']}")[0].partition(" (")[0]
    return bool(answer) and head == answer and fields["text"].count(fields["definition"].partition(" ")[2]) == 1


def _is_definition(fields: Fields, answer: str) -> bool:
    verb, _, subject = fields["asked"].partition(" ")
    after = fields["text"].partition(f" {verb} {answer}")[2]
    return bool(answer) and fields["text"].startswith(subject) and after[:1] in (".", ",") and after[:1] != ""


def _fills(fields: Fields, answer: str) -> bool:
    return bool(answer) and fields["text"].count(fields["gapped"].replace(GAP, answer)) == 1


def _comes_first(fields: Fields, answer: str) -> bool:
    places = {fields["text"].index(choice): choice for choice in parts_of(fields["choices"])}
    return places[min(places)] == answer


def _is_inside(fields: Fields, answer: str) -> bool:
    return [choice for choice in parts_of(fields["choices"]) if choice in fields["text"].casefold()] == [answer]


class QuestionAnswering(Family):
    """The text of the question holds the answer; `first_named` and `which_word` offer three choices."""

    gives: ClassVar[str] = (
        "The Otter Mill (1843) is a stone mill on a narrow river. It was sold by John to Maria, and later to Peter. "
        "Nobody has lived there since. Visitors reach the place through a forest, which belongs to the village. "
        "Several painters came here every summer and left behind pictures of remarkable beauty."
    )
    tasks: ClassVar = {
        "subject": FamilyTask(
            _subject,
            _is_subject,
            (
                "What or who {definition}, according to this text? Answer with the name only.\n{text}",
                '{text}\n\nOf what does the text say that it "{definition}"?',
                'Text: {text}\nIt "{definition}":',
                'Read the passage and name what "{definition}". Write the name as it stands there.\n\n{text}',
                '{text}\n\nQuestion: Which name goes with "{definition}"?',
            ),
        ),
        "definition": FamilyTask(
            _definition,
            _is_definition,
            (
                "What {asked}, according to this text? Answer in the words of the text.\n{text}",
                "{text}\n\nWhat {asked}?",
                "Text: {text}\nQuestion: What {asked}? Copy the words that say it.\nAnswer:",
                "Use the passage to say what {asked}.\n\n{text}",
                "{text}\n\nTo the question what {asked}, the passage answers:",
            ),
        ),
        "gap": FamilyTask(
            _gap,
            _fills,
            (
                "{text}\n\nWhich word is missing here? Answer with one word.\n{gapped}",
                "Fill the gap with the word of the text.\nText: {text}\nGap: {gapped}\nWord:",
                "A word was taken out of this sentence: {gapped}\nThe passage has it: {text}\nWhat is the word?",
                "Read: {text}\n\nNow complete: {gapped}\nWrite the missing word only.",
                "{gapped}\n\nWhat belongs into the gap? The answer stands in this text.\n{text}",
            ),
        ),
        "first_named": FamilyTask(
            _first_named,
            _comes_first,
            (
                "Which of these names comes first in the text: {choices}? Answer with the name only.\n{text}",
                "{text}\n\nOf {choices}, which is mentioned first?",
                "Text: {text}\nNames: {choices}\nNamed first:",
                "The passage names {choices}. Which of them does a reader meet first? One name is enough.\n\n{text}",
                "{text}\n\nChoose from {choices} the one that stands nearest to the beginning.",
            ),
        ),
        "which_word": FamilyTask(
            _which_word,
            _is_inside,
            (
                "Only one of these words occurs in the text: {choices}. Which? Answer with the word only.\n{text}",
                "{text}\n\nWhich of these words did you read above: {choices}?",
                "Text: {text}\nChoices: {choices}\nWord in the text:",
                "Look for {choices} in the passage and write the one that it contains.\n\n{text}",
                "{text}\n\nTwo of the words {choices} are not in this passage. Name the one that is.",
            ),
        ),
    }
