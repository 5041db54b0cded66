"""Checkable answers: what a reply says in the end, and when that is the known answer."""

import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from windtunnel.generators.text.gold import agrees, final_answer, known_answer

CASES = [line.split("\t") for line in Path(__file__).with_name("gold_cases.tsv").read_text("utf-8").split("\n") if line]
SIGNS = "0123456789+-*/^=<>()[]{},.|%$!:; xyXabpi\\°\n"


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Two and three.\nAnswer: 5", "5"),
        ("Answer: 4\nNo, wait.\n**Final answer:** 5", "5"),
        ("So:\n\n ** Answer **: 7", "7"),
        ("Answer: 6\n\n-\nFinal answer = 8", "8"),
        ("So the answer: 9", "9"),
        ("- **Answer**: **-5**", "-5"),
        ("Answer: x = 3", "x = 3"),
        ("Answer: 3:30 p.m.", "3:30 p.m."),
        ("Answer: 5\n\nDo you have 2 other questions?", "5"),
        # on the next line
        ("Answer:\n42", "42"),
        ("## Final Answer:\n\n$$\n42\n$$", "42"),
        ("Answer:\n\\[\n\\boxed{7}\n\\]", "7"),
        # an explanation behind it
        ("Answer: 42. This is because 6 * 7 = 42.", "42"),
        ("Answer: 42 because 6 * 7 = 42", "42"),
        ("Answer: 42 (since 6 * 7 is 42)", "42"),
        ("Answer: Paris. It is the capital.", "Paris"),
        ("Answer: Dr. Smith", "Dr. Smith"),
        # LaTeX and GSM8K
        (r"so $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"\boxed{3} no, \boxed{4}", "4"),
        (r"Answer: $\boxed{5}$", "5"),
        (r"\boxed{5 is cut", "5"),
        ("6 * 7 = 42\n#### 42", "42"),
        ("#### -1,200\n", "-1,200"),
        ("#### 2. Compute\n3 + 4", None),  # a heading
        # in a sentence
        ("The final answer is: $-3$. I used 5.", "-3"),
        ("The answer is somewhere in the book.", None),
        ("The answer is 2. But wait, there are 3.", "2"),
        ("So the answer is **5**, of course.", "5"),
        ("The answer is 5 when both are added.", "5"),
        # the whole value and not the figure that it begins with
        ("The answer is 10^5.", "10^5"),
        ("The answer is 5 km, as 5,000 m are 5 km.", "5 km"),
        ("The answer is 5 or 6.", "5 or 6"),
        ("The answer is 1e5", "1e5"),
        ("The answer is 1.5 million.", "1.5 million"),
        ("The answer is 2020-01-02.", "2020-01-02"),
        ("The answer is 5:30", "5:30"),
        ("The answer is 3, 4 and 5.", "3, 4 and 5"),
        ("The answer is 5x+2.", "5x+2"),
        ("It is 1e5.", "1e5"),
        ("There are 5 million.", "5 million"),
        ("There are 5 of them.", "5"),
        ("The sum is 5.", "5"),
        ("The result is -5.", "-5"),
        ("It is 1/2.", "1/2"),
        ("It is 50%.", "50%"),
        ("2 + 3 = 5", None),  # several numbers: which one it is would be a guess
        ("Answer:", None),
        ("I do not know.", None),
    ],
)
def test_the_final_answer(reply, answer):
    assert final_answer(reply) == answer


def test_every_pair_of_the_table_is_decided_rightly_in_both_orders():
    assert len(CASES) >= 200
    wrong = [case for case in CASES for a, b in (case[1:], case[:0:-1]) if agrees(a, b) is not (case[0] == "equal")]
    assert not wrong
    assert not [text for case in CASES for text in case[1:] if not agrees(text, text)]


@pytest.mark.parametrize(("answer", "gold"), [("", "5"), (None, "5"), (" ", " "), ("5", "")])
def test_no_answer_is_not_right(answer, gold):
    assert not agrees(answer, gold)


@pytest.mark.parametrize(
    "hostile", [r"9^{9^{9^{9}}}", pytest.param(r"(x+y+z)^{99999}", marks=pytest.mark.slow), "(x" * 90 + ")" * 90]
)
def test_a_hostile_answer_takes_little_time_and_the_next_one_is_compared(hostile):
    start = time.monotonic()
    assert not agrees(hostile, "x + 1")
    assert time.monotonic() - start < 60  # 2 seconds of processor time, on a machine of any load
    assert agrees("1 + x", "x + 1")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("deep", ["{" * 300 + "%s" + "}" * 300, "(" * 200 + "1, %s" + ", 0)" * 200])
def test_collections_in_one_another_are_equal_as_text_alone(deep):
    assert agrees(deep % 1, deep % 1)
    assert not agrees(deep % 1, deep % 2)


@settings(max_examples=80, deadline=None)
@given(st.text(SIGNS, max_size=10), st.text(SIGNS, max_size=10))
def test_agreement_is_symmetric_and_reflexive_and_never_raises(a, b):
    assert agrees(a, b) is agrees(b, a)
    assert agrees(a, a) is bool(a.strip())
    final_answer(a)


@given(st.text(max_size=40))
def test_any_text_is_equal_to_itself(text):
    assert agrees(text, text) is bool(text.strip())
    final_answer(f"Answer: {text}")


@given(st.fractions(), st.fractions())
def test_numbers_are_compared_exactly(a, b):
    assert agrees(str(a), str(b)) is (a == b)
    assert agrees(f"{a.numerator:,}/{a.denominator:,}", str(a))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=30), st.integers(1, 10**30))
def test_the_last_digit_of_a_decimal_counts(number, step):
    assume(abs(number) < 10**60)
    other = Fraction(number) + Fraction(step, 10**30)
    assert not agrees(f"{number:f}", f"{other.numerator}/{other.denominator}")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "sign", ["\n", " ", "a", "1", ",", "(", "{", "\\boxed{", "*", "Answer: ", "the ", "1 and ", "$", "1 h "]
)
def test_long_replies_are_read_at_once(sign):
    long = sign * 100_000
    answer = final_answer(long)
    agrees(answer, "5")
    agrees(sign * 300, "5")
    agrees(sign * 300, sign * 299 + "2")


@pytest.mark.parametrize(
    ("reference", "known"),
    [
        ("48/2 = 24 clips in May.\n48+24 = 72 clips in all.\n#### 72", "72"),
        (r"We add: $1+1=2$, so the answer is $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        ("3 apples and 4 pears", "3 apples and 4 pears"),
        ("42", "42"),
    ],
)
def test_the_answer_of_a_worked_solution_is_the_known_one(reference, known):
    assert known_answer(reference) == known
