"""Worked examples: parsing input-first and output-first replies, and the rules of cleaning."""

import random

from windtunnel.generators.text.instances import Example, clean, input_first, output_first


def parsed(examples):
    return [(e.input, e.output) for e in examples]


def reasons(examples, most=5):
    return [e.reason for e in clean(examples, most, random.Random(0))]


def test_input_first_with_headings():
    reply = "Input: 3 km\nOutput: 3,000 m\n\nExample 2\nInput: 45 cm\nOutput: 0.45 m\nTask: Another one\nOutput: no"
    assert parsed(input_first(reply, False)) == [("3 km", "3,000 m"), ("45 cm", "0.45 m")]


def test_an_example_without_input_and_one_that_says_so():
    assert parsed(input_first("Output: A poem.\nOf two lines.", False)) == [("", "A poem.\nOf two lines.")]
    for nothing in ("None", "N/A", "(no input)", "[none]."):
        assert parsed(input_first(f"Input: {nothing}\nOutput: x", False)) == [("", "x")]


def test_a_missing_heading_does_not_run_two_examples_together():
    assert parsed(input_first("Input: a\nOutput: b\nInput: c\nOutput: d", False))[0] == ("a", "b")


def test_a_reply_without_an_output_holds_no_example():
    assert input_first("I cannot do that.", False) == []


def test_output_first_puts_the_label_into_the_output():
    reply = " Fish\nInput: Seahorse\nLabel: Mammal\nInput: Dolphin\nin the sea"
    assert parsed(output_first(reply, False)) == [("Seahorse", "Fish"), ("Dolphin\nin the sea", "Mammal")]
    assert parsed(output_first("Class label: Yes", False)) == [("", "Yes")]


def test_the_last_example_of_a_cut_reply_goes():
    assert reasons(input_first("Input: a\nOutput: b\nExample 2\nInput: c\nOutput: d and", True)) == [None, "truncated"]


def test_rules_of_form():
    examples = [Example("a", "a"), Example("a", ""), Example("b", "see:"), Example("c:", "d"), Example("e", "f")]
    assert reasons(examples) == ["output_is_input", "empty_output", "ends_with_colon", "ends_with_colon", None]


def test_one_input_with_two_outputs_spoils_the_instruction():
    assert reasons([Example("a", "x"), Example("a", "y"), Example("b", "z")]) == ["contradiction"] * 3
    assert reasons([Example("", "x"), Example("", "y")]) == [None, None]  # without an input both may be right


def test_repetitions_and_what_a_sample_leaves_over():
    assert reasons([Example("a", "x"), Example("a", "x")]) == [None, "repeated"]
    many = [Example(str(i), "x") for i in range(8)]
    assert sorted(map(str, reasons(many))) == ["None"] * 5 + ["beyond_sample"] * 3
