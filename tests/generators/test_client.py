"""The client against a scripted server: order, deduplication, the store, limits and accounting."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from windtunnel.generators.client.client import Client, Endpoint, Request
from windtunnel.schemas.errors import RecipeError


def ask(text: str, **params) -> Request:
    return Request(messages=({"role": "user", "content": text},), **params)


def texts(completions) -> list[str]:
    assert all(c.ok for c in completions), [c.error for c in completions]
    return [c.text for c in completions]


def test_results_come_in_order_and_do_not_depend_on_concurrency(scripted, play, tmp_path):
    scripted.script = lambda body, before: play.hangs(body["seed"] % 5 / 500)
    requests = [ask(f"question {i}", draw=i % 3) for i in range(60)]
    found = []
    for concurrency in (1, 4, 32):
        with Client(Endpoint(scripted.url, "m", revision="r"), concurrency=concurrency) as client:
            found.append(texts(client.complete(requests)))
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 60
    shuffled = list(reversed(requests))
    with Client(Endpoint(scripted.url, "m", revision="r"), store=tmp_path / "s.db") as client:
        assert texts(client.complete(shuffled)) == list(reversed(found[0]))


def test_a_second_run_sends_nothing_and_gives_the_same(scripted, tmp_path):
    requests = [ask(f"q{i}") for i in range(20)] + [Request(prompt="raw text", logprobs=None)]
    with Client(Endpoint(scripted.url, "m", revision="r"), store=tmp_path / "s.db") as client:
        first = client.complete(requests)
    sent = len(scripted.bodies)
    assert sent == 21
    scripted.die()  # the replay needs no server at all
    with Client(Endpoint("http://127.0.0.1:9/v1", "m", revision="r"), store=tmp_path / "s.db") as client:
        second = client.complete(requests)
        assert client.usage.sent == 0
        assert client.usage.cached == 21
    assert texts(second) == texts(first)
    assert all(c.cached for c in second)
    assert not any(c.cached for c in first)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5}, {"top_p": 0.9}, {"max_tokens": 9}, {"seed": 1}, {"draw": 1}, {"stop": ("x",)},
        {"schema": {"type": "object"}}, {"extra": {"top_k": 5}}, {"logprobs": 1}, {"presence_penalty": 1.0},
    ],
)  # fmt: skip
def test_every_part_of_a_request_is_part_of_its_key(scripted, tmp_path, change):
    with Client(Endpoint(scripted.url, "m", revision="r"), store=tmp_path / "s.db") as client:
        client.complete([ask("q")])
        client.complete([ask("q", **change)])
        assert client.usage.cached == 0
    with Client(Endpoint(scripted.url, "m", revision="other weights"), store=tmp_path / "s.db") as client:
        client.complete([ask("q")])
        assert client.usage.cached == 0


def test_equal_requests_are_sent_once_within_and_across_calls(scripted, play, tmp_path):
    # `same` is under way until both calls have sent their own: a second `same` would have come by then
    scripted.script = lambda body, before: play.held(lambda: len(scripted.bodies) >= 3)
    with Client(Endpoint(scripted.url, "m", revision="r")) as client:
        results: list = [None, None]

        def call(slot: int) -> None:
            results[slot] = client.complete([ask("same")] * 10 + [ask(f"own {slot}")])

        threads = [threading.Thread(target=call, args=(slot,)) for slot in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(scripted.bodies) == 3  # `same` once, and one of each call's own
    assert texts(results[0])[:10] == texts(results[1])[:10]
    assert client.usage.shared == 19


def test_draws_of_one_question_have_seeds_of_their_own(scripted):
    with Client(Endpoint(scripted.url, "m", revision="r")) as client:
        client.complete([ask("q", seed=3, draw=d) for d in range(4)] + [ask("other", seed=3), ask("q", seed=None)])
    seeds = [body.get("seed") for body in scripted.bodies]
    assert sum(s is None for s in seeds) == 1
    assert len(set(seeds)) == 6
    assert all(s is None or 0 <= s < 2**31 for s in seeds)


def test_concurrency_is_bounded_per_endpoint(scripted, play):
    scripted.script = lambda body, before: play.held(lambda: scripted.peak >= 5, play.hangs(0.02))
    with Client(Endpoint(scripted.url, "m", revision="r"), concurrency=5) as client:
        client.complete([ask(f"q{i}") for i in range(40)])
    assert scripted.peak == 5


def test_a_request_that_waits_for_its_retry_holds_no_slot(scripted, play, monkeypatch):
    async def until_the_others_were_sent(seconds, sleep=asyncio.sleep):
        end = time.monotonic() + 60
        while len(scripted.bodies) < 6 and time.monotonic() < end:
            await sleep(0.002)

    monkeypatch.setattr("windtunnel.generators.client.endpoint_client.asyncio.sleep", until_the_others_were_sent)

    def script(body, before):
        late = body["messages"][0]["content"] == "late"
        return play.status(500, "not yet") if late and before == 0 else play.answers

    scripted.script = script
    with Client(Endpoint(scripted.url, "m", revision="r"), concurrency=1) as client:
        found = client.complete([ask("late"), *(ask(f"q{i}") for i in range(5))])
    order = [body["messages"][0]["content"] for body in scripted.bodies]
    assert order == ["late", "q0", "q1", "q2", "q3", "q4", "late"]
    assert all(c.ok for c in found)


def test_several_endpoints_are_told_apart_by_name(scripted, play):
    other = play.ScriptedServer()
    endpoints = [Endpoint(scripted.url, "m", "small"), Endpoint(other.url, "m", "big", price=(1.0, 10.0))]
    with Client(endpoints) as client:
        client.complete([ask("a", model="small"), ask("b", model="big"), ask("c", model="big")])
        assert (len(scripted.bodies), len(other.bodies)) == (1, 2)
        assert client.usage.prompt_tokens == 21
        assert client.usage.cost == pytest.approx(2 * (7 * 1.0 + 5 * 10.0) / 1e6)
        with pytest.raises(RecipeError, match="did you mean 'small'"):
            client.complete([ask("a", model="smal")])
        with pytest.raises(RecipeError, match="no endpoint"):
            client.complete([ask("a")])  # two endpoints: which one must be said
    other.die()


def test_the_wire_format(scripted):
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
    with Client(Endpoint(scripted.url, "m", dialect="vllm")) as client:
        chat = ask("q", schema=schema, logprobs=3, stop=("x",), extra={"top_k": 4}, frequency_penalty=0.5)
        client.complete([chat])
        client.complete([Request(prompt="p", schema=schema, logprobs=2), Request(prompt=(1, 2, 3))])
    chat_body, *raw = scripted.bodies
    assert chat_body["response_format"]["json_schema"]["schema"] == schema
    assert (chat_body["logprobs"], chat_body["top_logprobs"], chat_body["top_k"]) == (True, 3, 4)
    assert (chat_body["stop"], chat_body["frequency_penalty"]) == (["x"], 0.5)
    assert "presence_penalty" not in chat_body
    text, ids = sorted(raw, key=lambda body: str(body["prompt"]), reverse=True)
    assert text["structured_outputs"] == {"json": schema}
    assert text["logprobs"] == 2
    assert ids["prompt"] == [1, 2, 3]


def test_logprobs_of_both_interfaces_come_in_one_form(scripted, play, tmp_path):
    def script(body, before):
        if "messages" in body:
            tops = [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -2.5}]
            return play.says("A", logprobs={"content": [{**tops[0], "top_logprobs": tops}]})
        logprobs = {"tokens": ["A"], "token_logprobs": [-0.1], "top_logprobs": [{"A": -0.1, "B": None}]}
        return play.says("A", logprobs=logprobs)

    scripted.script = script
    for _ in range(2):  # the second time out of the store
        with Client(Endpoint(scripted.url, "m"), store=tmp_path / "s.db") as client:
            chat, raw = client.complete([ask("q", logprobs=2), Request(prompt="q", logprobs=2)])
        assert chat.logprobs and raw.logprobs
        assert (chat.logprobs[0].token, chat.logprobs[0].logprob) == ("A", -0.1)
        assert chat.logprobs[0].top == (("A", -0.1), ("B", -2.5))
        assert raw.logprobs[0].top == (("A", -0.1), ("B", -9999.0))  # JSON cannot say minus infinity


def test_surrogates_neither_break_a_request_nor_reach_a_row(scripted, play, tmp_path):
    scripted.script = lambda body, before: play.raw('{"choices": [{"message": {"content": "a\\ud800b\\u0000c"}}]}')
    with Client(Endpoint(scripted.url, "m"), store=tmp_path / "s.db") as client:
        (found,) = client.complete([ask("x\udfffy")])
        (again,) = client.complete([ask("x\udfffy")])
    assert found.text == again.text == "a\ufffdb\x00c"
    assert scripted.bodies[0]["messages"][0]["content"] == "x\ufffdy"


def test_progress_is_called_in_the_callers_thread_and_ends_complete(scripted, play):
    scripted.script = lambda body, before: play.hangs(0.25)
    calls = []
    with Client(Endpoint(scripted.url, "m"), concurrency=2) as client:
        client.complete(
            [ask(f"q{i}") for i in range(4)], lambda *call: calls.append((threading.get_ident(), *call[:2]))
        )
    assert {ident for ident, *_ in calls} == {threading.get_ident()}
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)
    assert len(calls) > 1
    assert calls[-1][1:] == (4, 4)


def test_many_small_batches_are_under_way_without_threads(scripted, play):
    scripted.script = lambda body, before: play.held(lambda: scripted.peak == 50, play.hangs(0.05))
    started = time.monotonic()
    with Client(Endpoint(scripted.url, "m"), concurrency=50) as client:
        futures = [client.submit([ask(f"a{i}"), ask(f"b{i}")]) for i in range(25)]
        found = [future.result() for future in futures]
        ours = [t for t in threading.enumerate() if t.name.startswith("model-client")]
        assert len(ours) == 1
        assert 0.05 < client.usage.seconds <= time.monotonic() - started  # they ran beside each other: no sum
    assert [len(texts(pair)) for pair in found] == [2] * 25
    assert scripted.peak == 50


def test_it_works_inside_a_running_event_loop(scripted):
    async def notebook() -> str:
        with Client(Endpoint(scripted.url, "m")) as client:
            return client.complete([ask("q")])[0].text

    assert asyncio.run(notebook())


def test_stream_keeps_a_window_in_memory(scripted):
    made = []

    def endless():
        for i in range(1000):
            made.append(i)
            yield ask(f"q{i}")

    with Client(Endpoint(scripted.url, "m")) as client:
        stream = client.stream(endless(), window=10)
        assert next(stream).ok
    assert len(made) == 10


def test_no_requests_is_no_work():
    with Client(Endpoint("http://127.0.0.1:9/v1", "m")) as client:
        assert client.complete([]) == []


def test_a_request_needs_messages_or_a_prompt():
    with pytest.raises(ValueError, match="either"):
        Request()
    with pytest.raises(ValueError, match="either"):
        Request(messages=({"role": "user", "content": "q"},), prompt="q")
    with pytest.raises(RecipeError, match="no address"):
        Endpoint("localhost:8000", "m")
