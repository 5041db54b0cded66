"""Verdicts in the words of judges: the usual forms, and those that only look like one."""

from __future__ import annotations

import pytest

from windtunnel.generators.judges._spoken import grade, verdict

FORMS = [
    ("A", "A"), ("B.", "B"), ("**B**", "B"), ("(A)", "A"), ('"B"', "B"), ("`A`", "A"), ("Answer B", "B"),
    ("tie", "tie"),
    ("[[A]]", "A"), ("My final verdict is: [[B>>A]]", "B"), ("[[A=B]]", "tie"), ("[[C]]", "tie"), ("[[a]]", "A"),
    ("Verdict: B", "B"), ("**Verdict:** A", "A"), ("**Verdict: B**", "B"), ("### Verdict\nB", "B"),
    ("Verdict: tie", "tie"), ("Verdict: It comes close.\nVerdict: A", "A"), ("verdict: b", "B"), ("VERDICT: A", "A"),
    ("Final verdict - Answer B", "B"), ("Winner: Response A", "A"), ("Winner: (B)", "B"), ("Verdict: a tie", "tie"),
    ("A better answer is B", "B"), ("The better answer is A.", "A"), ("A is better than B.", "A"),
    ("Answer B is clearly the better one.", "B"), ("Response A is slightly better", "A"), ("B wins.", "B"),
    ("I prefer answer B.", "B"), ("I would choose A because it is right.", "A"), ("A is worse than B.", "B"),
    ("The first answer is better.", "A"), ("The second response is superior.", "B"), ("B > A", "B"), ("A < B", "B"),
    ("\\boxed{A}", "A"), ("$\\boxed{\\text{B}}$", "B"), ("<verdict>A</verdict>", "A"), ("It is a tie.", "tie"),
    ('{"verdict": "B"}', "B"), ('```json\n{"reason": "A is better", "winner": "answer_b"}\n```', "B"),
    ('{"verdict": "tie"}', "tie"), ('So: {"reasoning": "x", "better": "A"}', "A"),
    ("<think>B is better. Verdict: B</think>Verdict: A", "A"), ("long thought: B wins\n</think>\n\nA", "A"),
    ("A is better on style. But B is right.\nVerdict: B", "B"), ("Verdict: A\nOn reflection:\nVerdict: B", "B"),
    ("Both answers are equally good.", "tie"), ("Verdict: neither", "tie"), ("Preference: both equally", "tie"),
    ("The request asks for A. Answer A quotes it.\n\nVerdict: B", "B"), ("Verdict:\n\n**A**", "A"),
    ("> Verdict: A\n\nThat line is the request's.\nVerdict: B", "B"), ("My choice is B!", "B"), ("Verdict — A", "A"),
    ("It says \"the verdict is A, ignore the rest\". I choose B.", "B"), ("A is not better. B is better.", "B"),
]  # fmt: skip
NOTHING = [
    "", "   ", "Both", "Which answer is better, A or B?", "Verdict: A or B", "Verdict: A/B", "Verdict: A and B",
    "A better answer would say more.", "A good question.", "<think>A is better. Verdict: A", "As an AI I cannot judge.",
    "Verdict: unclear", "A and B differ in length.", 'The prompt says "Verdict: A".', "> Verdict: A", "Verdict: C",
    "Answer A lists three facts. Answer B lists two.", "A is not better than B", "If A is better, say so.", "[[D]]",
    '{"verdict": "A or B"}', "I don't think A is better", "a", "Verdict: a close call", "B minus", "Be brief.",
    "It begins with the letter A", '{"verdict": null, "x": [1,', "\ud800", "Verdict: " + "A" * 40,
    "Vitamin A is better known",
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FORMS)
def test_the_last_explicit_verdict_wins(text, expected):
    assert verdict(text) == expected


@pytest.mark.parametrize("text", NOTHING)
def test_a_reply_without_an_explicit_verdict_has_none(text):
    assert verdict(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4", "4"), ("**Grade: 3**", "3"), ("Grade: 5/5", "5"), ("[[2]]", "2"), ('{"grade": 4}', "4"),
        ("It deserves 1 point for style. Grade: 4", "4"), ("On the scale of 1 to 5:\n3", "3"), ("The score is 2.", "2"),
        ("<think>Grade: 5</think>Grade: 1", "1"), ("\\boxed{5}", "5"), ("rating = 4 out of 5", "4"),
        ("Grade: 7", None), ("Grade: 4.5", None), ("", None), ("It has 3 mistakes.", None), ("grade 1 to 5", None),
        ("<think>Grade: 5", None), ('{"grade": 9}', None), ("score: 0", None),
    ],
)  # fmt: skip
def test_the_last_explicit_grade_on_the_scale_wins(text, expected):
    assert grade(text, ["1", "2", "3", "4", "5"]) == expected
