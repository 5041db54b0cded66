"""The later kinds: what each adds to its original, one step at a time."""

import json
import math

import pytest

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.generator import Failed, Kept
from windtunnel.generators.core.scripted import contents, reasons, session
from windtunnel.generators.kinds.alpaca import Alpaca
from windtunnel.generators.kinds.best_of_n import BestOfN
from windtunnel.generators.kinds.evol_instruct import EvolInstruct
from windtunnel.generators.kinds.lima import Lima
from windtunnel.generators.kinds.magpie import Magpie
from windtunnel.generators.kinds.orca import Orca
from windtunnel.generators.kinds.sharegpt import ShareGPT
from windtunnel.generators.kinds.ultrainteract import UltraInteract


def asked(number=0, text="Name a river.", answer=None, source="s"):
    messages = [{"role": "user", "content": text}, *([{"role": "assistant", "content": answer}] if answer else [])]
    return {"id": f"p{number}", "source": source, "messages": messages}


def run(name, kind, replies=None, **inputs):
    talk = session(name, kind, replies or {}, inputs)
    outcomes = list(kind.generate(talk))
    return [contents(o.row) for o in outcomes if isinstance(o, Kept)], reasons(outcomes), outcomes, talk


def task(instruction, given="", output="Fine."):
    return {"instruction": instruction, "input": given, "output": output}


def test_alpaca_takes_none_for_no_input_and_refuses_what_has_no_output():
    tasks = [task("Name the longest river.", "N/A"), task("Describe seven quiet hills.", "", " "), {"instruction": "x"}]
    kept, dropped, _, talk = run("alpaca", Alpaca(model="m", rows=1, lag=1), {"tasks": [json.dumps({"tasks": tasks})]})
    assert kept == [["Name the longest river.", "Fine."]]
    assert dropped == {"empty_output": 1, "no_task": 1}
    prompt = talk.heard[0].request.messages[0]["content"]
    assert prompt.count('{"instruction":') == 3 and "20 tasks" in prompt


def test_alpaca_can_have_the_answer_written_by_another_model():
    replies = {"tasks": [json.dumps({"tasks": [task("Name the longest river.", "", "")]})], "answer": ["The Nile."]}
    kept, _, _outcomes, _ = run("alpaca", Alpaca(model="m", answer_model="big", rows=1, lag=1), replies)
    assert kept == [["Name the longest river.", "The Nile."]]


@pytest.mark.parametrize(("listed", "per_reply", "at_most"), [(3, 3, 10), (20, 3, 11), (20, 20, 2), (3, 1, 32)])
def test_alpaca_stops_asking_when_the_rows_are_there(listed, per_reply, at_most):
    made = [
        [task(f"Tell {chr(97 + n % 26) * 4}{n} and {n * 7 + k}x of {k}{n}q.") for k in range(per_reply)]
        for n in range(60)
    ]
    replies = {"tasks": [json.dumps({"tasks": tasks}) for tasks in made]}
    kind = Alpaca(
        model="m", rows=30, tasks_per_request=listed, requests_at_most=60, near_duplicate=None, similarity=1.0
    )
    kept, _, _, talk = run("alpaca", kind, replies)
    assert len(kept) == 30
    assert len(talk.heard) <= at_most


EVOLVED = {
    "evolve": ["Name the river with the widest delta."],
    "equal": ["Different"],
    "answerable": ["Yes"],
    "answer": ["Ganges."],
}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"evolve": ["Name a river."]}, "no_gain"),
        ({"equal": ["Equal."]}, "no_gain"),
        ({"answerable": ["No"]}, "not_answerable"),
        ({"answer": ["Sorry, I cannot."]}, "apology"),
        ({"answer": ["It is what it is."]}, "no_content_"),
        ({"answer": ["... !"]}, "no_content"),
        ({"answer": ["the of and."]}, "no_content"),
        ({"evolve": ["The rewritten prompt: name one."]}, "traces_of_prompt"),
        ({"answer": [Completion("Gan", "length")]}, "truncated"),
    ],
)
def test_evol_instruct_eliminates(reply, reason):
    kept, dropped, _, _ = run("evol_instruct", EvolInstruct(model="m", rounds=1), EVOLVED | reply, prompts=[asked()])
    assert (kept == []) == (reason != "no_content_")
    assert reason == "no_content_" or dropped == {reason: 1}


def test_what_evol_instruct_eliminates_goes_back_unevolved_and_success_is_built_upon():
    texts = [
        "Name a river.",
        "Name a river in Asia with two sources.",
        "Name a river in Asia, and both cities at its mouth.",
    ]
    replies = EVOLVED | {"evolve": texts}
    kept, dropped, outcomes, talk = run(
        "evol_instruct", EvolInstruct(model="m", rounds=3, operations=("deepen",)), replies, prompts=[asked()]
    )
    assert dropped == {"no_gain": 1} and len(kept) == 2
    prompts = [a.request.messages[0]["content"] for a in talk.heard if a.purpose == "evolve"]
    assert [
        text in prompt for text, prompt in zip(("Name a river.\n", "Name a river.\n", texts[1]), prompts, strict=True)
    ] == [True] * 3
    about = json.loads(outcomes[-1].row["lineage"])
    assert (
        about["round"] == 2 and about["ancestors"] == ["p0", outcomes[1].row["id"]] and about["operation"] == "deepen"
    )


def test_magpie_gives_the_model_nothing_but_the_opening_of_a_turn():
    replies = {
        "instruction": [f"Which of the {n} rivers is {w}?" for n, w in ((3, "long"), (9, "cold"))],
        "answer": ["The first."],
    }
    _kept, _, outcomes, talk = run("magpie", Magpie(model="m", rows=2), replies)
    draws = [a.request for a in talk.heard if a.purpose == "instruction"]
    assert {d.prompt for d in draws} == {"<|im_start|>user\n"} and len({d.seed for d in draws}) == len(draws) == 2
    assert json.loads(outcomes[0].row["lineage"])["draw_seed"] == draws[0].seed
    assert [a.request.temperature for a in talk.heard if a.purpose == "answer"] == [0.0, 0.0]


def test_magpie_keeps_good_new_ones_and_no_category_fills_the_set():
    tags = [
        json.dumps({"quality": q, "difficulty": "easy", "category": c})
        for q, c in (("good", "coding"), ("poor", "advice"), ("good", "coding"), ("excellent", "advice"))
    ]
    texts = [
        "Which rivers in Asia are long?",
        "Tell me about it",
        "How do I sort a list in C?",
        "What shall I cook for my aunt?",
    ]
    replies = {"instruction": texts, "tags": tags, "answer": ["So."]}
    kept, dropped, _, _ = run("magpie", Magpie(model="m", tagger="j", rows=2, per_category=0.5), replies)
    assert [k[0] for k in kept] == [texts[0], texts[3]] and dropped == {"low_quality": 1, "category_full": 1}
    same = {"instruction": ["Which rivers in Asia are long?"], "answer": ["So."]}
    kept, dropped, _, talk = run("magpie", Magpie(model="m", rows=2, draws_per_row=3), same)
    assert len(kept) == 1 and dropped == {"near_duplicate": 5} and talk.journal["stopped_by_draws"] == 1


def test_orca_keeps_only_what_agrees_with_the_known_answer():
    questions = [asked(i, f"What is {i} + 3?", str(i + 3)) for i in range(3)] + [asked(9)]
    replies = {"explain": ["Count.\nAnswer: 3", "Answer: 99", Completion("Answer: 5", "length")]}
    kept, dropped, _outcomes, talk = run("orca", Orca(model="m"), replies, prompts=questions)
    assert [k[1:] for k in kept] == [["What is 0 + 3?", "Count.\nAnswer: 3"]]
    assert dropped == {"wrong_answer": 1, "truncated": 1, "no_known_answer": 1}
    assert kept[0][0] == talk.heard[0].request.messages[0]["content"]
    kept, dropped, _, _ = run("orca", Orca(model="m", verify=False), {"explain": ["So."]}, prompts=[asked(9)])
    assert len(kept) == 1


def test_orca_lets_no_source_fill_the_set():
    questions = [asked(i, f"What is {i} + 3?", "7", source="a" if i < 6 else "b") for i in range(8)]
    kept, dropped, _, _ = run(
        "orca", Orca(model="m", rows=4, per_source=0.5), {"explain": ["Answer: 7"]}, prompts=questions
    )
    assert [k[1] for k in kept] == [f"What is {i} + 3?" for i in (0, 1, 6, 7)] and dropped == {"source_full": 4}


@pytest.mark.parametrize("best", range(3))
def test_best_of_n_follows_the_judge_wherever_the_best_stands(best):
    scores = [json.dumps({"feedback": "", "score": 9 if k == best else 2 + k}) for k in range(3) for _ in range(2)]
    replies = {"answer": ["one", "two", "three"], "score": scores}
    kept, _, outcomes, _ = run("best_of_n", BestOfN(model="m", judge="j", n=3), replies, prompts=[asked()])
    worst = min(set(range(3)) - {best})
    assert kept == [["Name a river.", ["one", "two", "three"][best], ["one", "two", "three"][worst]]]
    assert json.loads(outcomes[0].row["lineage"])["nats"] == pytest.approx(math.log(3) - 2 / 3)


@pytest.mark.parametrize(
    ("answers", "scores", "reason"),
    [
        (["one", "one", "one"], [5], "all_alike"),
        (["one", "two", "three"], [5], "tie"),
        (["one", "two", "three"], [5, 5, 5, 6], "below_margin"),
        (["one", "two", "three"], ["none at all"], "unrated"),
        ([Completion("o", "length")], [5], "truncated"),
        ([Completion("", error="context_too_long")], [5], "context_too_long"),
    ],
)
def test_best_of_n_without_a_pair(answers, scores, reason):
    lines = [json.dumps({"feedback": "", "score": s}) for s in scores] + (
        [json.dumps({"feedback": "", "score": 5})] if len(scores) > 1 else []
    )
    kept, dropped, outcomes, _ = run(
        "best_of_n", BestOfN(model="m", judge="j", n=3), {"answer": answers, "score": lines}, prompts=[asked()]
    )
    assert (kept, dropped) == ([], {reason: 1})
    assert isinstance(outcomes[0], Failed) == (reason == "context_too_long")


def test_magpie_says_when_its_taggers_server_takes_no_schema():
    refusal = Completion(error="bad_request", detail="no response_format")
    replies = {"instruction": ["Which river is the longest?"], "tags": [refusal], "answer": ["The Nile."]}
    _, dropped, outcomes, _ = run("magpie", Magpie(model="m", tagger="j", rows=1, draws_per_row=1), replies)
    assert dropped == {"bad_request": 1} and isinstance(outcomes[0], Failed)


def test_best_of_n_says_when_its_judges_server_takes_no_schema():
    replies = {"answer": ["one", "two"], "score": [Completion(error="bad_request", detail="no response_format")]}
    _, dropped, (failed,), _ = run("best_of_n", BestOfN(model="m", judge="j", n=2), replies, prompts=[asked()])
    assert dropped == {"bad_request": 1} and isinstance(failed, Failed) and "response_format" in failed.detail


def talk_of(*contents_, number=0):
    roles = ("human", "gpt")
    return {
        "id": str(number),
        "source": "s",
        "messages": [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents_)],
    }


def test_sharegpt_keeps_talk_about_companies_and_drops_service_messages():
    rows = [
        talk_of("Who made ChatGPT?", "OpenAI did, in 2022."),
        talk_of("Hello there, you!", "Too many requests in 1 hour. Try again later."),
    ]
    kept, dropped, _, _ = run("sharegpt", ShareGPT(), conversations=rows)
    assert kept == [["Who made ChatGPT?", "OpenAI did, in 2022."]] and dropped == {"service_message": 1}
    _, dropped, _, _ = run("sharegpt", ShareGPT(blocked=("openai",)), conversations=rows)
    assert dropped["blocked"] == 1


def test_sharegpt_cuts_at_the_first_empty_answer_and_loses_no_round():
    rows = [talk_of("A question here?", "An answer.", "And more?", " ", "Again?", "Late answer.")]
    assert run("sharegpt", ShareGPT(), conversations=rows)[0] == [["A question here?", "An answer."]]
    rows = [talk_of("q" * 20, "a" * 20, "r" * 20, "b" * 20, "s" * 20, "c" * 70)]
    kept, dropped, _, _ = run("sharegpt", ShareGPT(characters_at_most=80), conversations=rows)
    assert [len(k) for k in kept] == [4] and dropped == {"round_too_long": 1}


def test_sharegpt_names_what_is_too_small():
    rows = [talk_of("Hi", number=1), talk_of("Hi", "Yo", number=2), {"id": "3", "source": "s", "messages": []}]
    assert run("sharegpt", ShareGPT(), conversations=rows)[1] == {"too_few_turns": 2, "too_short": 1}


def test_lima_gives_small_sources_more_than_their_part():
    rows = [asked(i, f"Question {i}?", f"Answer {i}.", source="big" if i < 800 else "small") for i in range(900)]
    kind = Lima(rows=90, fewest_characters=0)
    kept, dropped, outcomes, _ = run("lima", kind, conversations=rows)
    small = sum(o.row["source"] == "small" for o in outcomes if isinstance(o, Kept))
    assert len(kept) == 90 and dropped == {"not_chosen": 810}
    assert 30 <= small <= 31  # 8 to 1 by size is 2 to 1 by the cube root
    assert run("lima", kind, conversations=rows)[0] == kept


def test_lima_and_its_rivals():
    rows = [asked(i, f"Question {i}?", "word " * (i + 1)) for i in range(40)]
    longest = run("lima", Lima(rows=3, by="longest"), conversations=rows)[0]
    assert sorted(k[0] for k in longest) == ["Question 37?", "Question 38?", "Question 39?"]
    random = run("lima", Lima(rows=3, by="random"), conversations=rows)[0]
    assert len(random) == 3 and random != longest
    bad = ["I walked.", "See the answer above, it is plain.", "Look at https://x.org for it."]
    dropped = run(
        "lima", Lima(rows=3, fewest_characters=1), conversations=[asked(i, "Q?", a) for i, a in enumerate(bad)]
    )[1]
    assert dropped == {"first_person": 1, "refers_elsewhere": 1, "links": 1}
    assert run("lima", Lima(rows=3), conversations=[asked()])[1] == {"no_answer": 1}


def test_ultrainteract_goes_on_from_the_wrong_action_with_observation_and_critique():
    replies = {
        "act": ["Answer: 6", "Answer: 7", "Answer: 5", "Answer: 8"],
        "critique": ["Look at the first step again."],
    }
    kept, dropped, outcomes, _talk = run(
        "ultrainteract",
        UltraInteract(model="m", critic="c", samples=2, turns=2),
        replies,
        prompts=[asked(0, "2 + 3?", "5")],
    )
    assert dropped == {"no_right_action": 1} and len(kept) == 1
    prompt = outcomes[1].row["prompt"]
    assert [m["role"] for m in prompt] == ["user", "assistant", "user"]
    assert (
        prompt[1]["content"] in ("Answer: 6", "Answer: 7") and "Look at the first step again." in prompt[2]["content"]
    )
    assert kept[0][-2:] == ["Answer: 5", "Answer: 8"]


def test_a_critique_that_tells_the_answer_is_left_out():
    replies = {"act": ["Answer: 6", "Answer: 7"], "critique": ["The answer is 5, of course."]}
    _kept, _, _, talk = run(
        "ultrainteract",
        UltraInteract(model="m", critic="c", samples=2, turns=2),
        replies,
        prompts=[asked(0, "2 + 3?", "5")],
    )
    assert talk.journal["critiques_that_tell"] == 1
    assert not any("of course" in m["content"] for a in talk.heard if a.purpose == "act" for m in a.request.messages)


def test_a_question_that_is_always_solved_teaches_nothing_and_ends_its_tree():
    replies = {"act": ["Step 1.\nAnswer: 5", "Answer: 5"]}
    _, dropped, _, talk = run(
        "ultrainteract", UltraInteract(model="m", samples=2), replies, prompts=[asked(0, "2 + 3?", "5")]
    )
    assert dropped == {"solved": 1} and talk.asked["act"] == 2
