"""Turns: what gives a simulated user away, what is mere politeness, and cutting between rounds."""

import pytest

from generators import turns


def chat(*contents, system=False):
    roles = (["system"] if system else []) + ["user", "assistant"] * len(contents)
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]


@pytest.mark.parametrize(
    "turn",
    [
        "As an AI language model, I can explain that.",
        "I'd be happy to help you with your garden.",
        "Of course! Here is a list of trees for you.",
        "Here are three ways to save water: close the tap, ...",
        "Good. Is there anything else I can do for you?",
        "You're welcome! Let me know if you have more questions.",
        "That's a great question. Fog forms when air cools.",
    ],
)
def test_a_user_who_speaks_as_the_assistant_is_found_out(turn):
    assert turns.role_flip(turn, []) == "speaks_as_assistant"


@pytest.mark.parametrize(
    "turn",
    [
        "Could you give me an example with numbers?",
        "I'm not sure that is right. My aunt says fog comes from the sea.",
        "Sure, but what about the winter?",
        "Here is my garden plan, can you check it?",
        "Make it half as long and drop the last line.",
    ],
)
def test_a_user_who_speaks_as_a_user_is_left_alone(turn):
    assert turns.role_flip(turn, chat("Why is there fog?", "Because moist air cools down.")) is None


def test_copies_of_the_dialogue_are_named():
    history = chat("Why is there fog over the river at dawn?", "Fog forms when moist air cools down to its dew point.")
    assert turns.role_flip("Fog forms when moist air cools to its dew point.", history) == "echoes_assistant"
    assert turns.role_flip("Why is there fog over the river at dawn", history) == "repeats_itself"


@pytest.mark.parametrize(
    ("turn", "left"),
    [
        ("Thank you so much!", ""),
        ("Thanks. That's really helpful! Have a great day.", ""),
        ("I really appreciate your detailed explanation of the water cycle and its parts.", ""),
        ("Thank you! How long does it take?", "How long does it take?"),
        ("Thanks, but why is it blue?", "Thanks, but why is it blue?"),
        ("Great. Now make it shorter.", "Now make it shorter."),
        ("That's interesting because in my town the fog comes at noon in summer.",) * 2,
        ("Why is it blue?", "Why is it blue?"),
    ],
)
def test_politeness_goes_and_what_asks_something_stays(turn, left):
    assert turns.without_politeness(turn) == left


def test_an_assistant_that_disclaims_feelings():
    assert turns.disclaims("As an AI language model, I cannot feel the rain.")
    assert turns.disclaims("I don't have personal opinions on that.")
    assert not turns.disclaims("I have no opinion on poets, but here is a poem on language models.")


def test_no_round_is_lost_when_a_dialogue_is_cut():
    dialogue = chat(*[f"{letter}" * 10 for letter in "abcdefgh"])
    for limit in range(5, 100, 5):
        parts = turns.split_rounds(dialogue, limit)
        assert [m for part in parts for m in part] == dialogue
        assert all(parts)
        assert all(part[0]["role"] == "user" and part[-1]["role"] == "assistant" for part in parts)
        assert all(len(part) == 2 or sum(len(m["content"]) for m in part) <= limit for part in parts)


def test_the_last_round_survives_when_it_is_the_one_that_overflows():
    dialogue = chat("q" * 10, "a" * 10, "q" * 10, "a" * 90)
    assert turns.split_rounds(dialogue, 100) == [dialogue[:2], dialogue[2:]]


def test_a_first_round_over_the_limit_makes_no_empty_part():
    dialogue = chat("q" * 10, "a" * 200, "r" * 10, "b" * 10)
    assert turns.split_rounds(dialogue, 100) == [dialogue[:2], dialogue[2:]]
    assert turns.split_rounds([], 100) == []


def test_a_system_message_stays_with_the_first_round():
    dialogue = chat("be brief", "q", "a", "r", "b", system=True)
    assert [len(part) for part in turns.rounds(dialogue)] == [3, 2]


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        ('User: "Why is it blue?"', "Why is it blue?"),
        ("Why is it blue?\nAssistant: Because of dust.\nUser: Ah.", "Why is it blue?"),
        ("You: Make it short", "Make it short"),
        ('Say "hello" twice', 'Say "hello" twice'),
        ("  ", ""),
    ],
)
def test_one_turn_out_of_a_reply_that_plays_both_sides(text, turn):
    assert turns.one_turn(text) == turn
