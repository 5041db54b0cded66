"""Which questions ask what a held-out one asks: words around it, small changes in long ones; and which do not."""

from __future__ import annotations

import pytest

from windtunnel.pipelines.datasets.near_questions import NearQuestions

LONG = " ".join(f"word{n}" if n % 3 else "and" for n in range(60))
HELD_OUT = [
    "What is the capital of France?",
    "Name three rivers.",
    "Compute 17 + 25 and explain each step of it.",
    LONG,
    "Why?",
]


@pytest.mark.parametrize(
    ("question", "number"),
    [
        ("Please what is the capital of France?", 0),
        ("Hi! Can you tell me: What is the capital of France? Thanks!", 0),
        ("what is the CAPITAL of france", 0),
        ("the capital of France", 0),
        ("Please name three rivers", 1),
        (f"Please. {LONG} Thank you.", 3),
        (LONG.replace("word31", "other"), 3),
        ("### Instruction:\n\nWhat is the capital of France?\n\n### Response:", 0),
        (f"{'You answer as a pirate would, briefly. ' * 20}Compute 17 + 25 and explain each step of it.", 2),
        (f"{'You answer as a pirate would, briefly. ' * 20}What is the capital of France?", None),
        ("What is the capital of Spain?", None),
        ("Name three rivers of Asia that are longer than the Rhine, and the seas into which they flow.", None),
        ("Compute 17 + 26 and explain each step of it.", None),
        ("Why not?", None),
        ("", None),
        ("\U0001f600", None),
    ],
)
def test_a_question_is_found_in_other_words_and_no_other_is(question, number):
    index = NearQuestions(HELD_OUT, 0.72)
    (match,) = index.match([question])
    assert (match.number if match else None) == number
    assert match is None or 0 < match.similarity <= 1


def test_nothing_is_found_in_nothing():
    assert NearQuestions([], 0.72).match(["What is it?"]) == [None]
    assert NearQuestions(["", "?"], 0.72).match(["", "What is the capital?"]) == [None, None]
