"""Turns: what gives a simulated user away, what is mere politeness, and cutting between rounds."""

import pytest

from windtunnel.generators.text import turns


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
        "Assistant: Fog forms when warm air cools over cold water.",
        "AI: Photosynthesis turns light into sugar.",
        "**Assistant:** Fog is a low cloud.",
        "### Assistant: Fog is a low cloud.",
        "Bot: The capital is Lima.",
        "AI: How can I help you today?",
        "Sure! Photosynthesis is the process by which plants make sugar from light.",
        "Certainly! Fog forms when moist air cools.",
        "Of course. Penguins live mainly in the southern half of the world.",
        "Absolutely! Yeast feeds on sugar and lets the dough rise.",
        "Definitely, the tides follow the moon because of its pull.",
        "Here's a list of fogs: valley fog, sea fog, ice fog.",
        "Here’s a list of fogs: valley fog, sea fog, ice fog.",
        "Here is how fog forms: the air cools.",
        "Sure, here is the list you wanted:",
        "Of course! Here is a list of trees for you.",
        "Sure, here's a shorter version",
        "Certainly! Here are some ideas I collected for you: paint, sand, plant.",
        "Great question! Fog is a cloud.",
        "That's an excellent question. Sea water carries salt from the rivers.",
        "Sure, I can help you with that. What kind of cake do you bake?",
        "Of course, I'd be happy to explain the water cycle.",
        "I'm here to help.",
        "I'm here to help you with any question.",
        "I am an AI, so the weather means nothing to me.",
        "As a language model, I have no garden.",
        "Is there anything else I can help with?",
        "Is there anything else you'd like to know?",
        "You're very welcome! Enjoy the trip.",
        "Let me know if you have any more questions.",
        "Feel free to ask if something is unclear.",
        "I'd be glad to provide more examples.",
        "Sure! Let me explain the steps of baking.",
        "Certainly. Bread rises because of yeast. Would you like to hear about sourdough?",
        "Sure thing! Rivers bend because the outer bank wears away faster.",
        "Yes, of course! Granite cools slowly deep under the ground.",
        "Certainly, the Baltic Sea has little salt since many rivers flow into it.",
        "Of course! Knitting needs two needles and a ball of wool.",
        "Sure. To boil an egg, place it in water for seven minutes.",
        "Sure! First, gather the dry leaves. Then pile them up in layers with soil.",
        "Absolutely. A mortgage is a loan that is secured by a house.",
        "Here are some tips for a calm evening: put the phone away, dim the lights.",
        "I'm sorry, but as an AI I cannot taste soup.",
        "Good question! Cats purr with their larynx.",
        "Great question. The moon has no air, so there is no sound.",
        "How may I assist you today?",
        "I can help you with that recipe.",
        "Sure, I'd suggest a lighter blue for the kitchen.",
        "Definitely! The museum opens at nine and is free on Sundays.",
        "ASSISTANT: What is your next question?",
        "You are welcome! If something else comes up, write again.",
        "I'm glad to help with any other topic.",
        "Of course! In summary, trade winds blow from the east toward the equator.",
        "Certainly! A haiku has three lines of five, seven and five syllables.",
        "Sure, a good first step is a walk every morning before work.",
        "Of course! Let's break this down into three parts.",
        "Absolutely! To keep bread fresh, store it in linen.",
        "Here are five names for a boat: Tern, Drift, Nimbus, Halcyon, Mara.",
        "That's a wonderful question! Owls turn their heads because their eyes are fixed.",
        "Sure! Here is the revised letter: Dear Tom, the roof leaks.",
        "I would be happy to assist you further.",
        "Hello! How can I help you with your essay?",
        "Let me know if you need any more help.",
        "I hope this helps! Good luck with the exam.",
        "Gladly. The bus leaves at six and the train at seven.",
    ],
)
def test_a_user_who_speaks_as_the_assistant_is_found_out(turn):
    assert turns.role_flip(turns.one_turn(turn), []) == "speaks_as_assistant"


@pytest.mark.parametrize(
    "turn",
    [
        "Could you give me an example with numbers?",
        "I'm not sure that is right. My aunt says fog comes from the sea.",
        "Sure, but what about the winter?",
        "Here is my garden plan, can you check it?",
        "Make it half as long and drop the last line.",
        "I'm here to help my mother with her phone. What should I do?",
        "I'm happy to help my neighbour, but where do I begin?",
        "I am an AI student and need a topic for my thesis.",
        "I'm an assistant manager at a shop. How do I plan shifts?",
        "As an AI researcher, I wonder how you learned this.",
        "AI: is it a danger for translators?",
        "Is there anything else I can add to the soil to keep it moist?",
        "Sure, the first one sounds good, but can you make it shorter?",
        "Sure, the winter is hard there. What about the spring?",
        "Absolutely, I'll try that. How often should it be watered?",
        "Sure! I have two children and a dog, and the flat is small.",
        "Sure! My budget is five hundred dollars.",
        "Sure, let me give you more details: my garden is small and faces north.",
        "Of course, I can wait a day. What do I do after that?",
        "Certainly, but that does not explain the colour of the sea.",
        "Sure. Write it as a letter instead.",
        "Sure! Make it half as long and drop the last verse.",
        "Certainly! Add another verse about snow.",
        "Absolutely, that makes sense for a big house. Small flats are another matter.",
        "Sure! Red and blue.",
        "Of course. In the evening.",
        "Here's my draft: The fog came slowly. Can you improve it?",
        "Here is the text: Dogs barks at night. What is wrong with it?",
        "Here's the thing: the fog never comes at noon here.",
        "Here's a list of what I have: eggs, milk, flour. What can be baked from it?",
        "Here are the numbers: 3, 9, 27. Please find the next one.",
        "You are welcome to change the ending if it gets better.",
        "I'd be happy to explain my problem in more detail.",
        "Let me know if you need more information about my plants.",
        "That's a good question, I never measured the room.",
        "How can I help young trees through the winter?",
        "How can I help your readers find the page?",
        "Sure, that works. Now turn it into a table.",
        "Definitely the second one.",
        "Sure, go on.",
        "Let me know which one is cheaper.",
        "Of course it rains a lot there, but why does the fog stay away?",
        "What about an assistant: does a small office need one?",
        "Certainly not! My aunt says the opposite.",
        "Sure, why not. Start with the cheapest one.",
        "Sure, but I doubt that a cat would eat it.",
        "Certainly the soil matters more than water, doesn't it?",
        "Of course! We live near a river and the cellar is damp every spring.",
        "Of course, forty is only a guess. Is there a table with real figures?",
        "Absolutely, but leave the last paragraph as it was.",
        "Here's my recipe: flour, water, salt. Too much salt?",
        "Here is an example of my handwriting in words: round and small.",
        "Here are the two sentences: It rained. We stayed in. Join them.",
        "I am an assistant nurse and work nights. When should I sleep?",
        "I'd be glad to hear about the other side as well.",
        "Could you act as an assistant to a detective in the story?",
        "My boss is an AI engineer; what would he like to read?",
        "That's an interesting question to ask a child, but is it fair?",
        "Is there anything else in the kit that could break?",
        "How may I help someone who faints?",
        "Sure, shorter is fine. The tone should stay friendly though.",
        "Definitely too long. Cut it to ninety words.",
        "Definitely! Swap the two verses and lose the rhyme.",
        "Sure, make the dragon green.",
        "Yes, of course. But what about the children?",
        "Sure. And the costs?",
        "I can help you understand my plan: I want to sell honey at the market.",
        "Feel free to use my name in the letter.",
        "AI in schools: good or bad?",
        "Certainly. Both versions should mention the price.",
        "Sure, let's do the second one.",
        "Sure! It should be about thirty lines and mention the harbour.",
        "Certainly odd. Which of the two is older?",
        "Sure, the price is fine, just tell the shop to wait.",
        "Of course not everyone agrees; what do critics say?",
        "Here's the menu from last week: soup, bread, pie. Suggest something new.",
        "Here are a few lines of the song: blue moon, old shoe. Continue in that style.",
        "I am here because of the roof. Who pays for it?",
        "Let me know when the poem is done.",
        "I hope that helps my brother too. What would he need first?",
        "Good question for a quiz. Make four answers to it.",
        "As a beginner I need simpler words.",
        "As an assistant in a bakery, I start at four. When should I sleep?",
        "Absolutely, shorter please.",
        "Yes, sure. What happens after the harvest?",
        "Of course, a boat is cheaper. But is it safe?",
        "The assistant: is it a person or a program in this story?",
    ],
)
def test_a_user_who_speaks_as_a_user_is_left_alone(turn):
    assert turns.role_flip(turn, chat("Why is there fog?", "Because moist air cools down.")) is None


def test_a_user_may_answer_what_the_assistant_asked_but_not_take_its_place():
    turn = "Sure! The balcony faces south and gets five hours of sun."
    asked = chat("Which flowers last?", "Pots dry out fast. Where does the balcony face?")
    offered = chat("Which flowers last?", "Pots dry out fast. Would you like to know more about balconies?")
    assert turns.role_flip(turn, asked) is None
    assert turns.role_flip(turn, offered) == "speaks_as_assistant"


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
        ("**User:** Why is it blue? Assistant: Because of dust.", "Why is it blue?"),
        ("Why is it blue?\n\n**Assistant:** Dust.", "Why is it blue?"),
        ("Assistant: Because of dust.", "Assistant: Because of dust."),
        (
            "Write a job advertisement for an assistant: part time",
            "Write a job advertisement for an assistant: part time",
        ),
        ('Say "hello" twice', 'Say "hello" twice'),
        ("  ", ""),
    ],
)
def test_one_turn_out_of_a_reply_that_plays_both_sides(text, turn):
    assert turns.one_turn(text) == turn


@pytest.mark.timeout(60)  # minutes, when the search for a question began anew at every letter
@pytest.mark.parametrize("text", ["A" * 300_000, "please " * 40_000, "*" * 300_000, "? " * 100_000])
def test_a_huge_turn_takes_no_longer_than_reading_it(text):
    turns.role_flip(text, [{"role": "assistant", "content": "Well."}])
    turns.without_politeness(text)
