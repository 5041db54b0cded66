"""UltraChat: three sectors, three roles, and a simulated user that stays one."""

import json

import pytest
from pydantic import ValidationError

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.generator import Dropped, Failed, Kept
from windtunnel.generators.core.scripted import reasons, session
from windtunnel.generators.kinds.ultrachat import END, UltraChat
from windtunnel.generators.text import excerpts, topics
from windtunnel.generators.text.groups import document_group, group_of, licences_of
from windtunnel.schemas.errors import InputError, RecipeError

ONE = {"world": 1}
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def question(number):
    return f"Do {NUMBERS[number]}{number} birds see {NUMBERS[-number]}{number * 7} roofs {NUMBERS[number]}{number * 3}?"


def opening(*numbers):
    return "\n".join(f"{i}. {question(n)}" for i, n in enumerate(numbers, 1))


def run(replies, documents=(), window=64, seed=0, **params):
    params = {"model": "answerer", "openings_per_request": 1, "rows": 1, "sectors": ONE} | params
    params.setdefault("rounds", dict.fromkeys(params["sectors"], (3, 3)))
    kind = UltraChat(seed=seed, **params)
    talk = session("ultrachat", kind, replies, {"documents": documents} if documents else None, window)
    return list(kind.generate(talk)), talk


def script(
    opening_lists=None,
    reply=("Answer one.", "Answer two.", "Answer three."),
    user=("And what else is there?", "Why is that so?"),
):
    return {"opening": opening_lists or [opening(i) for i in range(10)], "reply": reply, "user": user}


def rows(outcomes):
    return [[m["content"] for m in o.row["messages"]] for o in outcomes if isinstance(o, Kept)]


def document(number=0, licence="CC-BY-4.0", text=None):
    text = text or "\n\n".join(
        f"Paragraph {i} of document {number} tells at some length about storks and chimneys." for i in range(9)
    )
    meta = json.dumps({"licence": licence}) if licence else None
    return {"id": f"d{number}", "text": text, "source": "wiki", "url": f"http://x/{number}", "lang": "en", "meta": meta}


def test_opening_user_and_answers_come_from_models_of_their_own():
    _, talk = run(script(), opening_model="opener", user_model="asker")
    assert {ask.purpose: ask.request.model for ask in talk.heard} == {
        "opening": "opener",
        "user": "asker",
        "reply": "answerer",
    }


def test_the_user_knows_persona_goal_and_the_whole_history_and_the_assistant_the_chat():
    outcomes, talk = run(script())
    last = [ask.request for ask in talk.heard if ask.purpose == "user"][-1].messages[0]["content"]
    lineage = json.loads(outcomes[0].row["lineage"])
    for text in (
        lineage["persona"],
        lineage["goal"],
        question(0),
        "Answer one.",
        "And what else is there?",
        "Answer two.",
    ):
        assert text in last
    reply = [ask.request for ask in talk.heard if ask.purpose == "reply"][-1]
    assert [m["role"] for m in reply.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert rows(outcomes) == [
        [question(0), "Answer one.", "And what else is there?", "Answer two.", "Why is that so?", "Answer three."]
    ]


def test_a_dialogue_ends_when_the_goal_is_met_but_not_before_the_fewest_rounds():
    outcomes, talk = run(script(user=["And what else is there?", END]), rounds={"world": (2, 7)}, seed=3)
    assert json.loads(outcomes[0].row["lineage"])["ended"] == "goal_met" and len(rows(outcomes)[0]) == 4
    asked = [ask.request.messages[0]["content"] for ask in talk.heard if ask.purpose == "user"]
    assert [END in text for text in asked] == [False, True]


def test_a_turn_out_of_role_is_asked_again_and_then_ends_the_dialogue():
    flipped = "Sure, here is the list you wanted:"
    outcomes, talk = run(script(user=[flipped, "And what else is there?", flipped, flipped]))
    assert len(rows(outcomes)[0]) == 4
    assert json.loads(outcomes[0].row["lineage"])["ended"] == "speaks_as_assistant"
    assert talk.journal["turn_speaks_as_assistant"] == 3
    asks = [ask.request for ask in talk.heard if ask.purpose == "user"]
    assert len({(ask.seed, ask.draw) for ask in asks}) == len(asks)


def test_thanks_are_no_turn_and_politeness_is_taken_off():
    outcomes, talk = run(script(user=["Thank you so much!", "Thanks a lot. Why is that so?", "Great, thanks!", "Bye!"]))
    assert rows(outcomes)[0][2] == "Why is that so?"
    assert json.loads(outcomes[0].row["lineage"])["ended"] == "thanks_only"
    assert talk.journal["politeness_removed"] == 4


def test_an_echo_of_the_assistant_is_no_turn():
    outcomes, _ = run(script(reply=["The storks build on chimneys."], user=["The storks build on chimneys"]))
    assert json.loads(outcomes[0].row["lineage"])["ended"] == "echoes_assistant"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Completion("The storks bui", "length"), "reply_truncated"),
        ("As an AI language model I do not have feelings.", "disclaimer"),
        (Completion("", error="context_too_long"), "context_too_long"),
    ],
)
def test_a_bad_answer_costs_its_round_and_no_other(reply, reason):
    outcomes, _ = run(script(reply=["Answer one.", reply]))
    assert rows(outcomes) == [[question(0), "Answer one."]]
    assert json.loads(outcomes[0].row["lineage"])["ended"] == reason
    outcomes, _ = run(script([opening(0)], reply=[reply]), requests_at_most=1)
    assert reasons(outcomes) == {reason: 1}
    said = reply if isinstance(reply, str) else reply.text
    if reason == "context_too_long":
        assert isinstance(outcomes[0], Failed)
    else:
        assert isinstance(outcomes[0], Dropped) and outcomes[0].raw.endswith(said)


def test_sectors_come_in_their_weights_at_any_length():
    weights = {"world": 0.5, "creation": 0.3, "material": 0.2}
    replies = script([opening(*range(1))]) | {"detail-0": ["long"]}
    _, talk = run(replies, [document()], sectors=weights, rows=200, requests_at_most=100)
    asked = [ask.request.messages[0]["content"] for ask in talk.heard if ask.purpose == "opening"]
    counts = [
        sum(f"{word}" in text for text in asked) for word in ("(subject:", "to write something for you", "<text>")
    ]
    assert sum(counts) == len(asked) == 100
    assert all(abs(count - 100 * weight) <= 3 for count, weight in zip(counts, weights.values(), strict=True))


def test_creation_requests_are_detailed_in_their_share():
    lists = [opening(i) for i in range(10)]
    long = [f"Compose {n} {n}verses on {n}cranes, {n}hills, {n}rain." for n in NUMBERS]
    outcomes, talk = run(script(lists) | {"detail-0": long}, sectors={"creation": 1}, rows=8)
    first = [messages[0] for messages in rows(outcomes)]
    detailed = sum(text in long for text in first)
    assert 1 <= detailed == talk.asked["detail-0"] <= 8
    _, talk = run(script(lists), sectors={"creation": 1}, rows=8, detailed=0)
    assert "detail-0" not in talk.asked


def test_openings_of_one_list_are_one_group():
    outcomes, _ = run(script([opening(0, 1), opening(2, 3)]), rows=4, openings_per_request=2)
    groups = [group_of(outcome.row) for outcome in outcomes if isinstance(outcome, Kept)]
    assert groups == ["ultrachat:0:0"] * 2 + ["ultrachat:0:1"] * 2


def test_material_is_a_passage_with_id_and_licence():
    outcomes, talk = run(script(), [document(7)], sectors={"material": 1}, material_characters=300)
    lineage = json.loads(outcomes[0].row["lineage"])
    assert (lineage["document"], lineage["document_source"], lineage["licence"]) == ("d7", "wiki", "CC-BY-4.0")
    assert {group_of(outcome.row) for outcome in outcomes} == {document_group("d7")}
    turn = rows(outcomes)[0][0]
    assert question(0) in turn and "storks and chimneys" in turn and "material" not in lineage
    assert "storks and chimneys" in talk.heard[0].request.messages[0]["content"]


def test_a_document_with_nothing_to_ask_about_is_dropped_and_counted():
    outcomes, talk = run(script(), [document(text="too little")], sectors={"material": 1}, requests_at_most=3)
    assert reasons(outcomes) == {"no_material": 3} and not talk.heard


def test_material_without_documents_is_a_mistake_of_the_recipe():
    with pytest.raises(RecipeError, match="needs documents"):
        run(script(), sectors={"world": 1, "material": 1})


def test_openings_that_repeat_are_refused_but_one_request_may_go_with_many_texts():
    lists = [opening(0, 0), opening(0, 1)]
    outcomes, _ = run(script(lists), openings_per_request=2, rows=2)
    assert reasons(outcomes) == {"not_new": 2}
    documents = [document(i) for i in range(5)]
    outcomes, _ = run(script([opening(0)]), documents, sectors={"material": 1}, rows=3)
    assert len(rows(outcomes)) == 3


@pytest.mark.parametrize("window", [1, 4, 64])
def test_dialogues_do_not_depend_on_what_else_is_under_way(window):
    replies = script(reply=["Answer."], user=["And what else is there?"])
    outcomes, _ = run(replies, rows=6, window=window, rounds={"world": (1, 3)})
    assert [o.row["messages"][0]["content"] for o in outcomes] == [question(i) for i in range(6)]


def test_long_dialogues_are_cut_between_rounds_and_lose_none():
    replies = ["a" * 60, "b" * 60, "c" * 60]
    outcomes, _ = run(script(reply=replies), characters_at_most=150)
    assert [r for messages in rows(outcomes) for r in messages[1::2]] == replies
    assert [json.loads(o.row["lineage"])["part"] for o in outcomes] == list(range(len(outcomes))) and len(outcomes) > 1
    outcomes, _ = run(script(reply=["a" * 600, "b", "c"]), characters_at_most=150)
    assert reasons(outcomes) == {"round_too_long": 1} and len(rows(outcomes)) == 1


def test_more_are_started_for_what_is_refused_and_rows_too_many_are_surplus():
    cut = Completion("Answer that", "length", model="scripted")
    outcomes, talk = run(script(reply=[cut, "Answer two.", "Answer three."]), rows=2, rounds={"world": (1, 1)})
    assert [row[1] for row in rows(outcomes)] == ["Answer two.", "Answer three."]
    refused = reasons(outcomes)
    assert refused.pop("reply_truncated") == 1 and set(refused) <= {"surplus"}
    asked = sum(ask.purpose == "opening" for ask in talk.heard)
    assert asked == 3 + refused.get("surplus", 0) <= 5  # every opening is in the books


def test_dialogues_and_openings_run_beside_each_other_and_little_is_started_in_vain():
    cut = Completion("Answer that", "length", model="scripted")
    words = [f"{a}{b}" for a in NUMBERS for b in "bcdfghklmnpqrstvwxz"]
    lists = [f"1. Why do {w}ers {w}ing near {w}land {w}ly?" for w in words]
    replies = script(lists, reply=[*([cut] * 3 + ["Answer."]) * 40])  # one of four is kept
    outcomes, talk = run(replies, rows=12, rounds={"world": (1, 1)})
    purposes = "".join("o" if ask.purpose == "opening" else "d" for ask in talk.heard)
    assert "do" in purposes  # no wait for the last dialogue before the next opening
    assert len(rows(outcomes)) == 12
    answered = purposes.count("d")
    assert 4 * 11 < answered <= 4 * 12 + 12 and len(outcomes) == purposes.count("o")


def test_the_search_for_openings_is_bounded_and_says_so():
    outcomes, talk = run(script(["no list and too few words"[:5]]), rows=50, requests_at_most=7)
    assert talk.asked["opening"] == 7 and talk.journal["stopped_by_requests"] == 1
    assert sum(reasons(outcomes).values()) == 7


def test_a_failed_opening_request_is_a_failure():
    outcomes, _ = run(script([Completion("", error="empty_reply"), opening(1)]))
    assert isinstance(outcomes[0], Failed) and len(rows(outcomes)) == 1


@pytest.mark.parametrize(
    "params",
    [
        {"sectors": {"world": -1.0, "creation": 2.0}},
        {"sectors": {"world": 0.0}},
        {"sectors": {"wrold": 1.0}},
        {"rounds": {"world": (3, 2), "creation": (1, 2), "material": (1, 2)}},
        {"rounds": {"world": (0, 2), "creation": (1, 2), "material": (1, 2)}},
        {"rounds": {"world": (1, 2)}},
    ],
)
def test_impossible_parameters_are_refused(params):
    with pytest.raises(ValidationError):
        UltraChat(model="m", **params)


def test_our_topics_and_bad_ones(tmp_path):
    ours = topics.read()
    assert len(ours.world) == 30 and sum(map(len, ours.world.values())) == 300 and len(ours.creation) == 20
    path = tmp_path / "topics.yaml"
    path.write_text("world: {a: [b]}\ncreation: {c: [d]}\nmaterial: [e]\npersonas: [f]\ngoals: {world: [g]}")
    with pytest.raises(InputError, match="creation, material"):
        topics.read(str(path))
    path.write_text("world: [")
    with pytest.raises(InputError, match="cannot be read"):
        topics.read(str(path) + "")


@pytest.mark.parametrize("characters", [200, 400, 5000])
def test_passages_begin_and_end_at_paragraphs_and_keep_the_limit(characters):
    import random

    text = document()["text"]
    paragraphs = text.split("\n\n")
    for seed in range(20):
        passage = excerpts.passage(text, characters, random.Random(seed))
        assert 120 <= len(passage) <= characters or len(passage) == len(paragraphs[0])
        assert all(part in paragraphs for part in passage.split("\n\n"))


def test_a_long_paragraph_is_cut_after_a_sentence_or_a_word():
    assert excerpts.shortened("One two three. Four five six. Seven", 31) == "One two three. Four five six."
    assert excerpts.shortened("one two three four", 10) == "one two"
    assert excerpts.shortened("x" * 50, 10) == "x" * 10


def test_a_broken_meta_has_no_licence():
    assert licences_of({"meta": "{"}) == (None,)
    assert licences_of({"meta": "[1]"}) == (None,)
    assert licences_of({"meta": '{"license": "MIT"}'}) == ("MIT",)
