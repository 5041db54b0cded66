"""Checkable answers: what a reply says in the end, and when that is the known answer."""

import pytest

from windtunnel.generators.text.gold import agrees, final_answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Two and three.\nAnswer: 5", "5"),
        ("Answer: 4\nNo, wait.\n**Final answer:** 5", "5"),
        ("The sum is 5.", "5"),
        ("2 + 3 = 5", None),  # several numbers: which one it is would be a guess
        ("I do not know.", None),
        ("The answer is somewhere in the book.", None),
    ],
)
def test_the_final_answer(reply, answer):
    assert final_answer(reply) == answer


@pytest.mark.parametrize(
    ("answer", "gold", "same"),
    [
        ("5", "5.0", True),
        ("1,200 euros", "1200", True),
        ("-3", "3", False),
        ("5 or 6", "5", False),
        ("The Nile.", "nile", True),
        ("Blue Nile", "Nile", False),
        ("", "5", False),
        (None, "5", False),
    ],
)
def test_agreement(answer, gold, same):
    assert agrees(answer, gold) is same


@pytest.mark.timeout(60)
def test_a_reply_of_blank_lines_is_read_at_once():
    assert final_answer("\n" * 200_000) is None
    assert final_answer("So:\n\n ** Answer **: 7") == "7"
    assert final_answer("Answer: 6\n\n-\nFinal answer = 8") == "8"
