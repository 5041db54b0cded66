"""Instructions out of numbered lists, and the filters on their form."""

import pytest

from windtunnel.generators.text.instructions import Item, numbered, sentence_case, unsuitable


def found(reply, first=9, truncated=False):
    return [item.text for item in numbered(reply, first, truncated) if item.complete]


def test_a_reply_that_goes_on_with_the_open_number():
    assert found(" Name a river.\n10. name a\n  city.\n11.Name a hill.") == [
        "Name a river.",
        "Name a city.",
        "Name a hill.",
    ]


def test_a_year_does_not_cut_an_instruction_in_two():
    reply = " Say what happened in\n2016. Then explain it.\n10. Name the year after 2016. Why?"
    assert found(reply) == ["Say what happened in 2016. Then explain it.", "Name the year after 2016. Why?"]


def test_a_list_of_its_own_is_followed_and_words_before_it_are_no_instruction():
    assert found("Sure, here are more tasks:\n9. Name a river.\n10) Name a city.") == ["Name a river.", "Name a city."]
    assert found("Here you go:\n1. Name a river.\n2. Name a city.") == ["Name a river.", "Name a city."]
    assert found("1. Name a river.\n2. Name a city.", first=1) == ["Name a river.", "Name a city."]


def test_a_decimal_at_the_start_of_a_line_is_no_number_of_the_list():
    assert found(" Add up\n10.5 and 3.\n10. Name a city.") == ["Add up 10.5 and 3.", "Name a city."]


def test_the_last_entry_of_a_cut_reply_is_marked():
    items = numbered(" Name a river.\n10. Name a ci", 9, truncated=True)
    assert items == [Item("Name a river."), Item("Name a ci", complete=False)]


@pytest.mark.parametrize("reply", ["", "  \n ", "9.", "9.\n10.\n"])
def test_nothing_comes_of_nothing(reply):
    assert numbered(reply, 9, False) == []


def test_only_the_first_letter_is_raised():
    assert sentence_case("explain what NASA and the pH do") == "Explain what NASA and the pH do"
    assert sentence_case("") == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Name a river", "too_short"),
        ("Name " + "one more " * 80, "too_long"),
        ("Describe what you see in the picture.", "not_for_text"),
        ("Go to the shop and buy bread.", "not_for_text"),
        ("Write a program that adds two numbers.", "program"),
        ("- name three rivers of Asia", "starts_with_punctuation"),
        ("Éxplain how a kettle works.", "starts_outside_ascii"),
        ("Name three rivers of Asia.", None),
        ("Explain the cartography of the plotline.", None),  # whole words only: no map, no plot in it
    ],
)
def test_filters(text, reason):
    assert unsuitable(text) == reason


def test_other_scripts_pass_when_told_so():
    assert unsuitable("Éxplain how a kettle works.", ascii_start=False) is None
