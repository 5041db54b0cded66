"""Pairs out of judged answers: margins, ties, orders, critiques."""

import random

import pytest

from windtunnel.generators.judging.judged import Answer, disputed, pair
from windtunnel.generators.judging.ratings import Rating

NAMES = ("instruction_following", "truthfulness", "honesty", "helpfulness")


def answer(text, *orders, score=None, truncated=False):
    """An answer whose four aspects all got these ratings, one per order; None stands for not applicable."""
    given = [Rating(value) if value is not None else Rating(None, "not_applicable") for value in orders]
    critique = Rating(score) if score is not None else Rating(None, "unreadable")
    return Answer(text, truncated, dict.fromkeys(NAMES, given), critique)


def made(*answers, margin=0.5, rejected="random", seed=0):
    found = pair(answers, margin, rejected, random.Random(seed))
    return found if isinstance(found, str) else (found.chosen, found.rejected)


def test_the_best_is_chosen_wherever_it_stands():
    ratings = (2, 5, 1, 3)
    for turn in range(4):
        values = ratings[turn:] + ratings[:turn]
        chosen, rejected = made(*(answer(f"t{v}", v, v) for v in values), rejected="lowest")
        assert (values[chosen], values[rejected]) == (5, 1)


def test_which_of_the_worse_ones_is_rejected():
    answers = [answer("a", 5, 5), answer("b", 4, 4), answer("c", 2, 2), answer("d", 1, 1)]
    assert made(*answers, rejected="lowest") == (0, 3)
    assert made(*answers, rejected="nearest") == (0, 1)
    assert {made(*answers, seed=s)[1] for s in range(30)} == {1, 2, 3}
    assert {made(*answers, margin=2, seed=s)[1] for s in range(30)} == {2, 3}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([answer("a", 3, 3), answer("b", 3, 3)], "tie"),
        ([answer("a", 4, 4), answer("a", 2, 2)], "tie"),  # the same text twice is no pair, whatever the ratings
        ([answer("a", 4, 4), answer("b", 4, 3)], "below_margin"),
        ([answer("a", 4, 4), answer("b", None, None)], "unrated"),
        ([answer("a", 4, 4, truncated=True), answer("b", 1, 1, truncated=True)], "truncated"),
        ([answer("a", 5, 2), answer("b", 1, 3)], "order_inconsistent"),
        ([answer("a", 5, 5, score=2), answer("b", 1, 1, score=9)], "critique_disagrees"),
    ],
)
def test_why_there_is_no_pair(answers, reason):
    chosen = made(*answers, margin=1.0)
    assert chosen == reason


def test_a_cut_answer_is_never_chosen_but_may_be_rejected():
    assert made(answer("a", 5, 5, truncated=True), answer("b", 4, 4), answer("c", 1, 1)) == (1, 2)
    assert made(answer("a", 1, 1, truncated=True), answer("b", 4, 4)) == (1, 0)


def test_a_tie_for_the_best_falls_to_the_critique():
    assert made(answer("a", 5, 5, score=6), answer("b", 5, 5, score=8), answer("c", 1, 1, score=2)) == (1, 2)


def test_an_aspect_that_one_lacks_decides_nothing():
    whole = {name: [Rating(3), Rating(3)] for name in NAMES}
    high = Answer("a", False, whole | {"honesty": [Rating(5), Rating(5)]}, Rating(None, "unreadable"))
    none = Answer("b", False, whole | {"honesty": [Rating(None, "not_applicable")] * 2}, Rating(None, "unreadable"))
    assert made(high, none) == "tie"


def test_what_lies_on_a_limit_is_within_it():
    assert made(answer("a", 4, 4), answer("b", 3, 3), margin=1.0) == (0, 1)
    assert made(answer("a", 5, 3), answer("b", 2, 3), margin=1.0) == (0, 1)  # equal in one order is no contradiction
    assert made(answer("a", 4, 4, score=7), answer("b", 2, 2, score=7)) == (0, 1)
    middle = {name: [Rating(3), Rating(4)] for name in NAMES}  # 3.5 of 1 to 5 is 6.625 of 1 to 10
    assert disputed(Rating(10), middle, 3.375) and not disputed(Rating(10), middle, 3.376)


def test_the_nearest_of_several_says_why_there_is_no_pair():
    answers = [answer("a", 4, 4), answer("b", 4, 3), answer("c", 4, 4)]
    assert made(*answers, margin=1.0) == made(*answers[::-1], margin=1.0) == "below_margin"


def test_a_score_far_off_the_ratings_is_disputed():
    low = {name: [Rating(1), Rating(1)] for name in NAMES}
    assert disputed(Rating(10), low, 4)  # what the original's error turned a 1 into
    assert not disputed(Rating(1), low, 4)
    assert not disputed(Rating(10), {name: [Rating(5)] for name in NAMES}, 4)
    assert disputed(Rating(None, "unreadable"), low, 4)
    assert not disputed(Rating(None, "not_applicable"), low, 4)
