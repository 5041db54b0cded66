"""Self-Instruct: the algorithm's steps, and the original's faults that must not come back."""

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from blake3 import blake3

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.generator import Dropped, Failed, Kept
from windtunnel.generators.core.scripted import ScriptedSession, contents, reasons, session
from windtunnel.generators.kinds.self_instruct import SelfInstruct
from windtunnel.generators.text import seed_tasks
from windtunnel.schemas.errors import InputError

TEN = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrs"]


def instruction(number):
    """Instructions that share nothing but are otherwise fine."""
    return f"Explain {TEN[number]}{number} quietly beside {TEN[number]}{number + 50} stones."


def run(replies, **params):
    kind = SelfInstruct(model="m", **params)
    talk = session("self_instruct", kind, replies)
    return list(kind.generate(talk)), talk


def script(bootstrap, classify=("No",), example=("Output: done",)):
    return {"bootstrap": bootstrap, "classify": classify, "example": example}


def asked(talk, purpose):
    return [ask.request for ask in talk.heard if ask.purpose == purpose]


def test_a_prompt_shows_eight_human_tasks_at_first_and_later_six_and_two_of_its_own():
    lists = [f" {instruction(2 * i)}\n10. {instruction(2 * i + 1)}" for i in range(5)]
    outcomes, talk = run(script(lists), rows=8, lag=1)
    seeds = {task.instruction for task in seed_tasks.read()}
    first, *later = [
        [line.partition(". ")[2] for line in request.prompt.splitlines() if line[:1].isdigit()][:8]
        for request in asked(talk, "bootstrap")
    ]
    assert len(first) == 8 and set(first) <= seeds
    for shown in later:
        assert sum(text in seeds for text in shown) == 6
        assert sum(text not in seeds for text in shown) == 2
    assert len([o for o in outcomes if isinstance(o, Kept)]) == 8


def test_decoding_is_the_papers():
    _, talk = run(script([f" {instruction(0)}"]), rows=1)
    request = asked(talk, "bootstrap")[0]
    assert (request.temperature, request.top_p, request.presence_penalty, request.max_tokens) == (0.7, 0.5, 2.0, 1024)
    assert request.prompt.endswith("\n9.") and request.messages == ()
    assert asked(talk, "classify")[0].temperature == 0 and asked(talk, "classify")[0].max_tokens == 3
    assert asked(talk, "example")[0].presence_penalty == 1.5


def test_no_stop_string_fires_inside_a_year():
    _, talk = run(script([f" {instruction(0)}"]), rows=1)
    for request in talk.heard:
        assert not any(
            stop in "It happened in 2016. Then in 1916 . And 16." for stop in request.request.stop if stop != "Task"
        )


def test_acronyms_keep_their_letters():
    outcomes, _ = run(script([" say what NASA and the EU have in common."]), rows=1, lag=1)
    assert contents(outcomes[-1].row)[0] == "Say what NASA and the EU have in common."


def test_what_is_too_like_a_seed_or_an_accepted_one_is_refused_with_its_neighbour():
    seed = seed_tasks.read()[40]
    near = instruction(0).replace("quietly", "loudly")
    outcomes, _ = run(
        script([f" {seed.instruction}\n10. {instruction(0)}\n11. {near}", f" {instruction(1)}"]), rows=2, lag=1
    )
    refused = [o for o in outcomes if isinstance(o, Dropped) and o.reason == "not_new"]
    assert [o.lineage["nearest"][0] for o in refused] == [seed.id, 0]
    assert all(o.lineage["nearest"][1] > 0.7 for o in refused)
    assert refused[0].raw == seed.instruction


def test_a_near_copy_by_characters_falls_to_the_second_gate():
    one = "Explain photosynthesis to schoolchildren patiently now."
    two = "Explain photosynthesisto schoolchildrenpatiently now."
    kind = {"rows": 2, "lag": 1, "requests_at_most": 1}
    outcomes, _ = run(script([f" {one}\n10. {two}"]), near_duplicate=0.4, **kind)
    assert reasons(outcomes) == {"near_duplicate": 1}
    outcomes, _ = run(script([f" {one}\n10. {two}"]), **kind)
    assert reasons(outcomes) == {}


def test_classification_gets_labels_first_and_the_rest_inputs_first():
    replies = script(
        [f" {instruction(0)}\n10. {instruction(1)}"],
        ["Yes", " no."],
        [" Warm\nInput: July\nLabel: Cold\nInput: May", "Output: x"],
    )
    outcomes, talk = run(replies, rows=3, lag=1, layouts="plain")
    label, other = asked(talk, "example")
    assert label.prompt.endswith("Label:") and "Class" not in label.prompt.splitlines()[-1]
    assert other.prompt.endswith("Example 1")
    rows = [contents(o.row) for o in outcomes if isinstance(o, Kept)]
    assert rows == [
        [f"{instruction(0)}\n\nJuly", "Warm"],
        [f"{instruction(0)}\n\nMay", "Cold"],
        [instruction(1), "x"],
    ]
    lineage = json.loads([o for o in outcomes if isinstance(o, Kept)][-1].row["lineage"])
    assert lineage["classification"] is False and set(lineage["models"]) == {"bootstrap", "classify", "example"}


def test_a_cut_reply_loses_its_last_entry_only():
    cut = Completion(f" {instruction(0)}\n10. Explain the sec", "length")
    outcomes, _ = run(script([cut]), rows=1, lag=1)
    assert reasons(outcomes)["truncated"] == 1 and isinstance(outcomes[-1], Kept)


class Hasty(ScriptedSession):
    """Each answer depends on its request alone and comes when it likes, by threads of its own."""

    threads = ThreadPoolExecutor(8)

    def submit(self, asks):
        self.heard += asks
        return self.threads.submit(self.slowly, asks)

    def slowly(self, asks):
        time.sleep(random.random() * 0.004)
        return [Completion(self.said(ask), "stop", model="scripted") for ask in asks]

    def said(self, ask):
        mark = blake3(repr(ask.request).encode()).digest()
        if ask.purpose == "bootstrap":
            return "\n".join(f"{9 + i}. {instruction(mark[i] % 10)} {mark[i]}" for i in range(3)) + "\n12. short"
        if ask.purpose == "classify":
            return ["Yes", "No"][mark[0] % 2]
        return ["Output: a\nExample 2\nInput: q\nOutput: b", "none"][mark[0] % 2]


@pytest.mark.parametrize("lag", [1, 3, 16])
def test_acceptance_does_not_depend_on_which_answer_comes_first(lag):
    kind = SelfInstruct(model="m", rows=25, lag=lag, similarity=0.95)
    told = []
    for _ in range(4):
        outcomes = kind.generate(Hasty("self_instruct", kind.seed, None))
        told.append([o.row["id"] if isinstance(o, Kept) else (o.reason, o.raw) for o in outcomes])
    assert told[0] == told[1] == told[2] == told[3]
    assert sum(isinstance(o, str) for o in told[0]) == 25


def test_prompts_and_examples_run_beside_each_other_and_little_is_started_in_vain():
    lists = [f" {instruction(i % 10)} {word}\n10. {instruction((i + 5) % 10)} {word}" for i, word in enumerate(WORDS)]
    one_of_four = ["Output: done", "none", "none", "none"] * 40
    outcomes, talk = run(script(lists, example=one_of_four), rows=12, similarity=0.95)
    purposes = "".join(ask.purpose[0] for ask in talk.heard if ask.purpose != "classify")
    assert "eb" in purposes  # no wait for the last example before the next prompt
    assert sum(isinstance(o, Kept) for o in outcomes) == 12
    answered, accepted = purposes.count("e"), talk.journal["instructions_accepted"]
    assert 4 * 11 < answered <= 4 * 12 + 12 and len(outcomes) == accepted <= answered + 16


def test_a_model_without_ideas_is_not_asked_for_ever():
    outcomes, talk = run(script([" no", "", "ok"]), rows=1000, patience=5, lag=2)
    assert talk.journal["stopped_by_patience"] == 1 and len(asked(talk, "bootstrap")) <= 7
    outcomes, talk = run(script([" no"]), rows=1000, requests_at_most=12)
    assert talk.journal["stopped_by_requests"] == 1 and len(asked(talk, "bootstrap")) == 12
    assert set(reasons(outcomes)) == {"too_short"}


def test_exactly_the_rows_wanted_and_everything_else_on_the_books():
    many = "Output: a\nExample 2\nInput: q\nOutput: b\nExample 3\nInput: r\nOutput: c"
    outcomes, talk = run(
        script([f" {instruction(i)}\n10. {instruction(i + 1)}" for i in range(0, 8, 2)], example=[many]), rows=4
    )
    assert sum(isinstance(o, Kept) for o in outcomes) == 4
    assert reasons(outcomes)["surplus"] >= 1
    assert talk.journal["stopped_by_rows"] == 1
    answers = 3 * len(asked(talk, "example"))
    refused = sum(o.stage == "instruction" for o in outcomes if isinstance(o, Dropped))
    assert len(outcomes) == answers + refused


def test_a_request_that_the_model_cannot_answer_is_a_failure_with_its_code():
    long = Completion("", error="context_too_long", detail="4100 tokens")
    outcomes, _ = run(script([long, f" {instruction(0)}"]), rows=1, lag=1)
    assert isinstance(outcomes[0], Failed) and outcomes[0].error == "context_too_long"
    outcomes, _ = run(script([f" {instruction(0)}", "no"], example=[long]), rows=1, lag=1, requests_at_most=2)
    assert reasons(outcomes) == {"context_too_long": 1, "too_short": 1}


def test_a_chat_model_is_asked_by_message():
    reply = f"Sure! Here are more tasks:\n9. {instruction(0)}\n10. {instruction(1)}"
    outcomes, talk = run(script([reply]), rows=2, interface="chat")
    assert all(ask.request.messages and ask.request.prompt is None for ask in talk.heard)
    assert [contents(o.row)[0] for o in outcomes if isinstance(o, Kept)] == [instruction(0), instruction(1)]


def test_layouts_vary_and_hold_instruction_and_input():
    example = "Input: 3 km\nOutput: 3,000 m"
    outcomes, _ = run(script([f" {instruction(i)}" for i in range(10)], example=[example]), rows=10)
    turns = [
        contents(o.row)[0].replace(instruction(i), "I")
        for i, o in enumerate(x for x in outcomes if isinstance(x, Kept))
    ]
    assert len(set(turns)) >= 3 and all("I" in t and "3 km" in t for t in turns)


def test_seed_tasks_of_ones_own(tmp_path):
    path = tmp_path / "seeds.jsonl"
    path.write_text('{"id": "a", "instruction": "Name a river of Asia.", "instances": [{"output": "Mekong"}]}\n')
    _, talk = run(script([f" {instruction(0)}"]), rows=1, seeds=str(path))
    assert "Name a river of Asia." in asked(talk, "bootstrap")[0].prompt
    before = SelfInstruct(model="m", seeds=str(path)).fingerprint()
    assert before != SelfInstruct(model="m").fingerprint()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no seed tasks"),
        ('{"id": "a"}', "line 1: instruction"),
        ("\n{", "line 2"),
        ('{"id":"a","instruction":"b","instances":[]}', "instances"),
    ],
)
def test_a_bad_seed_file_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        seed_tasks.read(str(path))
    with pytest.raises(InputError, match="cannot be read"):
        seed_tasks.read(str(tmp_path / "absent.jsonl"))


def test_our_seed_tasks():
    tasks = seed_tasks.read()
    assert len(tasks) == 175 and 25 <= sum(t.is_classification for t in tasks) <= 30
    assert len({t.id for t in tasks}) == len({t.name for t in tasks}) == len({t.instruction for t in tasks}) == 175
    assert all(i.output.strip() == i.output and i.input != i.output for t in tasks for i in t.instances)
    from windtunnel.generators.text.instructions import unsuitable
    from windtunnel.generators.text.novelty import RougeGate

    gate = RougeGate()
    for task in tasks:
        assert unsuitable(task.instruction) is None, task.instruction
        assert gate.nearest(task.instruction).similarity <= 0.7, task.instruction
        gate.add(task.instruction)
