"""Constraints judge as IFEval's own checkers do, on random replies made of what they look for."""

from __future__ import annotations

import random

import pytest

from windtunnel.schemas.plugin import make
from windtunnel.trainer.constraints._constraint import Constraint
from windtunnel.trainer.tasks.constraints import kept

for package in ("lm_eval", "langdetect", "immutabledict", "nltk"):
    pytest.importorskip(package, exc_type=ImportError)
pytestmark = pytest.mark.slow

# IFEval's name and parameters, and ours. Sentences and words in capitals need NLTK's data, which may be absent.
PAIRS = [
    ("length_constraints:number_words", {"relation": "at least", "num_words": 6}, {"words": {"least": 6}}),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 6}, {"words": {"most": 5}}),
    ("keywords:existence", {"keywords": ["mill", "river"]}, {"keywords": ["mill", "river"]}),
    ("keywords:forbidden_words", {"forbidden_words": ["mill"]}, {"forbidden_words": ["mill"]}),
    (
        "keywords:frequency",
        {"keyword": "mill", "frequency": 2, "relation": "at least"},
        {"keyword_frequency": {"word": "mill", "least": 2}},
    ),
    (
        "keywords:letter_frequency",
        {"letter": "e", "let_frequency": 3, "let_relation": "at least"},
        {"letter_frequency": {"letter": "e", "least": 3}},
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, {"placeholders": {"least": 1}}),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, {"postscript": "P.S."}),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, {"bullets": {"least": 2, "most": 2}}),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, {"highlights": {"least": 1}}),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        {"sections": {"splitter": "Section", "least": 2}},
    ),
    ("detectable_format:json_format", {}, "json_format"),
    ("detectable_format:title", {}, "title"),
    (
        "detectable_format:constrained_response",
        {},
        {"one_of": ["My answer is yes.", "My answer is no.", "My answer is maybe."]},
    ),
    ("combination:two_responses", {}, "two_responses"),
    ("startend:end_checker", {"end_phrase": "is that all?"}, {"ends_with": "is that all?"}),
    ("startend:quotation", {}, "quotation"),
    ("punctuation:no_comma", {}, "no_comma"),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        {"paragraphs": {"separator": "asterisks", "least": 2, "most": 2}},
    ),
]
PIECES = [
    "mill", "Mill", "river", "the", "e", "ee", ",", ".", "\n", "\n\n", "* one", "\n* two", "\n- three", "*bold*",
    "**very**", "[name]", "[]", "P.S. more", "p. s. x", "Section 1", "Section 2", " ", "\n******\n", "***", "\n***\n",
    "<<A title>>", '"', '{"a": 1}', "```json\n[1]\n```", "My answer is yes.", "is that all?", "OLD", "millstone",
]  # fmt: skip


def test_replies_are_judged_strictly_and_loosely_as_ifeval_judges_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk

    monkeypatch.setattr(nltk, "download", lambda *_, **__: True)  # IFEval's module asks for data when it is imported
    from lm_eval.tasks.ifeval import utils  # pyright: ignore[reportMissingImports]

    rng = random.Random(0)
    for _ in range(1500):
        reply = rng.choice(("", " ")).join(rng.choices(PIECES, k=rng.randint(1, 7)))
        for name, parameters, spec in PAIRS:
            example = utils.InputExample(0, [name], "prompt", [parameters])
            strict = utils.test_instruction_following_strict(example, reply).follow_all_instructions
            loose = utils.test_instruction_following_loose(example, reply).follow_all_instructions
            found = kept([make(Constraint, spec)], reply)
            assert (found.strict, found.loose) == ([bool(strict)], [bool(loose)]), (name, reply)
