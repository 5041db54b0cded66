"""Scores and ratings: what a reply's number means, and what it must never turn into."""

import json

import pytest

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.judging.ratings import (
    Rating,
    balanced_orders,
    common_mean,
    mean,
    read_critique,
    read_ratings,
    schema_of_critique,
    schema_of_ratings,
    score,
)


@pytest.mark.parametrize(
    ("value", "number", "status"),
    [
        (1, 1.0, "ok"),  # the original made it 10
        (10, 10.0, "ok"),
        (7.5, 7.5, "ok"),  # the original cut it to 7
        ("7.5", 7.5, "ok"),
        ("8/10", 8.0, "ok"),
        ("8 out of 10", 8.0, "ok"),
        ("Score: 8", 8.0, "ok"),
        ("4/5", 8.0, "ok"),
        ("N/A", None, "not_applicable"),
        ("not applicable.", None, "not_applicable"),
        (0, None, "out_of_range"),
        (11, None, "out_of_range"),
        ("11/10", None, "out_of_range"),
        (float("nan"), None, "out_of_range"),
        ("between 3 and 5", None, "unreadable"),
        ("good", None, "unreadable"),
        ("8/0", None, "unreadable"),
        (True, None, "unreadable"),
        (None, None, "unreadable"),
        ([8], 8.0, "ok"),
        ("__import__('os')", None, "unreadable"),  # the original evaluated the model's text
    ],
)
def test_a_score_is_what_it_says(value, number, status):
    assert score(value, 1, 10) == Rating(number, status)


def reply(*ratings):
    return Completion(json.dumps({"ratings": [{"rationale": f"r{i}", "rating": r} for i, r in enumerate(ratings)]}))


def test_ratings_keep_their_places_and_not_applicable_is_an_answer():
    read = read_ratings(reply(1, "N/A", 5, "3/5"), 4, 5)
    assert [r.value for r in read] == [1, None, 5, 3]
    assert [r.status for r in read] == ["ok", "not_applicable", "ok", "ok"]
    assert read[2].rationale == "r2"


@pytest.mark.parametrize(
    "text",
    [
        reply(1, 2, 3).text,
        reply(1, 2, 3, 4, 5).text,
        "[]",
        "{}",
        "no JSON",
        '{"ratings": 4}',
        '{"ratings": [1, 2, 3, 4]}',
    ],
)
def test_a_count_that_does_not_match_shifts_nothing(text):
    assert read_ratings(Completion(text), 4, 5) == [Rating(None, "unreadable")] * 4


def test_json_in_a_fence_is_read():
    assert [r.value for r in read_ratings(Completion(f"```json\n{reply(2, 3).text}\n```"), 2, 5)] == [2, 3]


def test_critiques():
    assert read_critique(Completion('{"feedback": "Thin.\\n\\nVery.", "score": 1}'), 10) == Rating(
        1, "ok", "Thin.\n\nVery."
    )
    assert read_critique(Completion('{"feedback": "x", "score": 7.5}'), 10).value == 7.5
    assert read_critique(Completion('{"feedback": "x", "score": "8/10"}'), 10).value == 8
    assert read_critique(Completion("It lacks an end.\nOverall Score: 1"), 10).value == 1
    assert read_critique(Completion("Overall Score: 7.5"), 10).value == 7.5
    assert read_critique(Completion("Overall score: N/A"), 10).status == "not_applicable"
    assert read_critique(Completion("Score: 3 ... no, score: 9"), 10).status == "unreadable"
    assert read_critique(Completion("I have nothing to say"), 10).status == "unreadable"


def test_schemas_fix_the_count_and_the_scale():
    schema = schema_of_ratings(4, 5, True, 100)["properties"]["ratings"]
    assert (schema["minItems"], schema["maxItems"]) == (4, 4)
    assert schema["items"]["properties"]["rating"]["enum"] == [1, 2, 3, 4, 5, "N/A"]
    assert list(schema["items"]["properties"]) == ["rationale", "rating"]  # reasons come before the number
    bare = schema_of_ratings(2, 5, False, 0)["properties"]["ratings"]["items"]
    assert bare["properties"] == {"rating": {"enum": [1, 2, 3, 4, 5]}}
    assert schema_of_critique(10, 50)["properties"]["score"] == {"type": "integer", "minimum": 1, "maximum": 10}


def test_means_leave_out_what_is_not_there():
    assert mean([Rating(4), Rating(None, "unreadable")]) == 4
    assert mean([Rating(4), Rating(None, "not_applicable")]) == 4
    assert mean([Rating(4), *[Rating(None, "not_applicable")] * 2]) is None
    assert mean([]) is None


def test_answers_are_compared_on_the_aspects_that_both_have():
    assert common_mean({"a": 5, "b": 1}, {"a": 4, "b": None}) == (5, 4)
    assert common_mean({"a": None}, {"a": 3}) is None


@pytest.mark.parametrize("texts", [2, 3, 4, 7])
@pytest.mark.parametrize("count", [2, 4, 6])
def test_every_text_is_in_the_middle_on_average_and_before_each_other_half_the_time(texts, count):
    orders = balanced_orders(list(range(texts)), count)
    assert len(orders) == count and all(sorted(order) == list(range(texts)) for order in orders)
    for text in range(texts):
        assert sum(order.index(text) for order in orders) == count * (texts - 1) / 2
    for a in range(texts):
        for b in range(a):
            assert sum(order.index(a) < order.index(b) for order in orders) == count / 2


def test_half_an_emoji_in_a_reply_is_replaced_and_endless_brackets_are_no_reply() -> None:
    broken = Completion(text='{"feedback": "bad \\ud83d", "score": 3}', error="invalid_json")
    assert read_critique(broken, 10) == Rating(3.0, "ok", "bad \ufffd")
    for text in ("[" * 5000, '{"ratings": ' * 5000):
        assert read_critique(Completion(text=text, error="invalid_json"), 10).status == "unreadable"
        assert [r.status for r in read_ratings(Completion(text=text), 2, 5)] == ["unreadable"] * 2
