"""Numbers on how varied texts are, against hand counts and against naive code."""

import pytest

from windtunnel.generators.text.diversity import measure, nearest_rouge_l, openings
from windtunnel.generators.text.novelty import rouge_l


def test_hand_counts():
    found = measure(["Write a poem about rain", "Write a poem about snow", "Sing"])
    assert (found.texts, found.words, found.first_words) == (3, 11, 2)
    assert found.distinct_1 == pytest.approx(7 / 11)
    assert found.distinct_2 == pytest.approx(5 / 8)
    assert found.distinct_3 == pytest.approx(4 / 6)
    assert (found.words_p50, found.words_mean) == (5, pytest.approx(11 / 3))
    assert found.openings == (("write", "poem", 2), ("sing", "", 1))


def test_n_grams_do_not_cross_from_one_text_into_the_next():
    assert measure(["a b", "c d"]).distinct_2 == 1.0
    assert measure(["a b", "b a", "a b"]).distinct_2 == pytest.approx(2 / 3)


def test_nearest_is_the_nearest_other_text():
    texts = ["one two three", "one two four", "five six", "one two three four"]
    expected = sum(max(rouge_l(a, b) for j, b in enumerate(texts) if j != i) for i, a in enumerate(texts)) / len(texts)
    assert nearest_rouge_l(texts) == pytest.approx(expected)
    assert nearest_rouge_l(["alone"]) is None


def test_openings_look_past_light_words():
    assert openings(["Give me a list of the five largest rivers."])[0] == ("give", "largest", 1)
    assert openings(["Translate this sentence", "translate the sentences"]) == (
        ("translate", "sentence", 1),
        ("translate", "sentences", 1),
    )


def test_scripts_without_spaces_and_empty_texts():
    found = measure(["写一首诗", "", "写两首诗"])
    assert (found.words, found.texts, found.words_p10) == (8, 3, pytest.approx(0.8))
    assert measure([]).texts == 0 and measure([""]).distinct_1 == 0.0
