"""The novelty gates: equal to the reference formula, exact in what they find, and sparing."""

import random
import re

import numpy as np
import pytest

from windtunnel.generators.text.novelty import NearDuplicateGate, RougeGate, rouge_l


def reference(target, prediction):
    """ROUGE-L F without stemming by the textbook: lower case, [a-z0-9]+ words, quadratic LCS table."""
    a, b = (re.sub(r"[^a-z0-9]+", " ", text.lower()).split() for text in (target, prediction))
    if not a or not b:
        return 0.0
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if x == y else max(table[i - 1][j], table[i][j - 1])
    precision, recall = table[-1][-1] / len(b), table[-1][-1] / len(a)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def texts(seed, count, vocabulary=30, lengths=(0, 1, 3, 10, 20, 63, 64, 65, 127, 128, 129, 200)):
    rng = random.Random(seed)
    return [" ".join(f"w{rng.randrange(vocabulary)}" for _ in range(rng.choice(lengths))) for _ in range(count)]


def test_f_equals_the_reference_bit_for_bit():
    some = [*texts(0, 24), "", "The cat's 2 hats!", "the CAT s 2 hats", "été über naïve", "- - -"]
    for a in some:
        for b in some:
            assert rouge_l(a, b) == reference(b, a)


def test_a_similarity_of_exactly_seven_tenths_falls_on_the_references_side():
    a = "a b c d e f g h i j"
    b = "a b c d e f g x y z"
    assert rouge_l(a, b) == reference(a, b)
    assert (rouge_l(a, b) > 0.7) is (reference(a, b) > 0.7)


def test_nearest_is_the_true_maximum_and_the_first_among_equals():
    gate, pool = RougeGate(), texts(1, 150, vocabulary=12, lengths=(2, 5, 9, 14, 70))
    for text in pool:
        found = gate.nearest(text)
        if len(gate):
            values = [reference(text, other) for other in pool[: len(gate)]]
            assert found.similarity == max(values)
            assert found.index == values.index(max(values))
        gate.add(text)
    assert gate.compared < gate.pairs


def test_nothing_is_read_that_was_never_written(monkeypatch):
    some = texts(2, 40, vocabulary=3000, lengths=(60, 90))

    def nearest():
        gate = RougeGate()
        return [(gate.nearest(text), gate.add(text)) for text in some]

    plain = nearest()
    monkeypatch.setattr(
        "windtunnel.generators.text.novelty.np.empty", lambda shape, dtype: np.full(shape, 1, dtype)
    )  # or anything
    assert nearest() == plain


def test_an_empty_pool_has_no_neighbour():
    assert RougeGate().nearest("anything").index == -1


def test_a_text_can_be_left_out_of_its_own_search():
    gate = RougeGate()
    for text in ("one two three", "one two four", "five"):
        gate.add(text)
    found = gate.nearest("one two three", skip=0)
    assert (found.index, found.similarity) == (1, reference("one two three", "one two four"))


def test_bounds_skip_most_pairs_of_unlike_texts():
    gate = RougeGate()
    for text in texts(2, 2000, vocabulary=3000, lengths=(8, 15, 30)):
        gate.add(text)
    gate.nearest(texts(2, 1, vocabulary=3000, lengths=(15,))[0])
    assert gate.compared < gate.pairs / 10


@pytest.mark.parametrize("text", ["写一首关于水壶的诗", "やかんの詩を書いて", "เขียนบทกวี"])
def test_text_without_spaces_has_words_in_unicode_mode_and_none_in_the_references(text):
    assert rouge_l(text, text, "unicode") == 1.0
    assert rouge_l(text, text) == 0.0
    assert 0 < rouge_l(text, text[: len(text) // 2], "unicode") < 1


def test_near_duplicates_are_found_across_spelling_and_spacing():
    gate = NearDuplicateGate(0.7)
    text = "Write a short poem about the kettle that stands on my grandmother's stove in the evening."
    gate.add("Explain how fog forms over a river valley in autumn.")
    gate.add(text)
    found = gate.find(text.upper().replace(" ", "  ").replace("evening", "evenings"))
    assert found is not None and found.index == 1 and found.similarity >= 0.7
    assert gate.find("Describe three ways of saving water in a school kitchen.") is None
    assert gate.find("") is None
    near = text.replace("evening", "evening.")
    gate.add(near)
    found = gate.find(near.upper())
    assert found is not None and (found.index, found.similarity) == (2, 1.0)  # the nearest, not the first


def test_a_threshold_of_one_finds_exact_copies():
    gate = NearDuplicateGate(1.0)
    gate.add("Explain how fog forms over a river valley in autumn.")
    assert gate.find("explain how  fog forms over a river valley in autumn.") is not None
    assert gate.find("Explain how fog forms over a river valley in spring.") is None


def test_minhash_agreement_estimates_jaccard_of_shingles():
    rng = random.Random(3)
    whole = " ".join(rng.choice("abcdefghijklmnop") * rng.randint(2, 7) for _ in range(400))
    errors = []
    for cut in range(20, 320, 20):
        other = whole[: len(whole) - cut] + "".join(rng.choice("qrstuvwxyz") for _ in range(cut))
        a, b = ({t[i : i + 5] for i in range(len(t) - 4)} for t in (whole, other))
        gate = NearDuplicateGate(0.01)
        gate.add(whole)
        found = gate.find(other)
        errors.append((found.similarity if found else 0.0) - len(a & b) / len(a | b))
    assert max(map(abs, errors)) < 0.25  # 64 permutations: one standard deviation is at most 0.0625
    assert abs(sum(errors) / len(errors)) < 0.06


def test_a_threshold_outside_the_unit_interval_is_refused():
    with pytest.raises(ValueError, match="near-duplicate"):
        NearDuplicateGate(0.0)
