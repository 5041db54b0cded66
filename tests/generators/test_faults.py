"""Every fault a model server can show: nothing lost, nothing twice, the same rows after."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from windtunnel.generators.client.client import Client, Endpoint, Request
from windtunnel.generators.client.faults import POLICIES, retry_after
from windtunnel.generators.client.store import CompletionStore
from windtunnel.schemas.errors import RecipeError, WindtunnelError

SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["score"],
    "additionalProperties": False,
}


def ask(text: str, **params) -> Request:
    return Request(messages=({"role": "user", "content": text},), **params)


def client_of(server, **params) -> Client:
    return Client(Endpoint(server.url, "m", revision="r"), **{"backoff": 0.01, **params})


def sound(scripted, requests) -> list[str]:
    """What an undisturbed run gives."""
    with client_of(scripted) as client:
        found = [c.text for c in client.complete(requests)]
    scripted.seen.clear()
    scripted.bodies.clear()
    return found


@pytest.mark.parametrize("fault", ["500", "503", "reset", "html", "half", "shape", "timeout", "closed"])
def test_faults_of_the_moment_are_retried_and_leave_no_trace(scripted, play, fault, tmp_path):
    requests = [ask(f"q{i}") for i in range(12)]
    expected = sound(scripted, requests)

    def closes(handler, body):
        handler.connection.close()
        handler.close_connection = True

    act = {
        "500": play.status(500, "engine"),
        "503": play.status(503, "busy", {"Retry-After": "0.02"}),
        "reset": play.resets,
        "html": play.raw("<html><body>Sign in to the proxy</body></html>", "text/html"),
        "half": play.raw('{"choices": [{"message": {"content": "ha'),
        "shape": play.raw('{"object": "error", "message": "in disguise"}'),
        "timeout": play.hangs(4.0),
        "closed": closes,
    }[fault]
    code = {"500": "server_error", "503": "server_error", "reset": "connection", "closed": "connection"}
    scripted.script = lambda body, before: act if before == 0 and body["seed"] % 3 == 0 else play.answers
    hit = 0
    with client_of(scripted, timeout=1.5 if fault == "timeout" else 60, store=tmp_path / "s.db") as client:
        found = client.complete(requests)
        hit = sum(client.usage.retries.values())
        assert set(client.usage.retries) <= {code.get(fault, "timeout" if fault == "timeout" else "bad_reply")}
    assert [c.text for c in found] == expected
    assert hit == sum(c.attempts - 1 for c in found) >= 1
    store = CompletionStore(tmp_path / "s.db")
    assert len(store) == 12
    store.close()


def test_retry_after_is_honoured_by_the_whole_lane(scripted, play):
    times: list[float] = []

    def script(body, before):
        times.append(time.monotonic())
        return play.status(429, "slow down", {"Retry-After": "0.5"}) if len(times) == 1 else play.answers

    scripted.script = script
    with client_of(scripted, concurrency=1) as client:
        found = client.complete([ask(f"q{i}") for i in range(4)])
    assert all(c.ok for c in found)
    assert times[1] - times[0] >= 0.5  # nobody was sent in between, the other questions neither
    assert client.usage.retries == {"rate_limited": 1}


def test_retry_after_takes_seconds_and_dates():
    assert retry_after("2.5") == 2.5
    assert 100 < (retry_after(formatdate(time.time() + 300, usegmt=True)) or 0) <= 300
    assert retry_after(formatdate(time.time() - 5, usegmt=True)) == 0
    assert retry_after("1e9") == 600
    assert [retry_after(x) for x in (None, "", "soon", "nan")] == [None] * 4


@pytest.mark.parametrize(
    ("act", "code"),
    [
        ((400, "This model's maximum context length is 2048 tokens. However, you requested 9000"), "context_too_long"),
        ((400, "max_tokens=5000 cannot be greater than max_model_len=2048."), "context_too_long"),
        ((400, "the request exceeds the available context size, try increasing it"), "context_too_long"),
        ((413, "payload"), "context_too_long"),
        ((404, "The model `m` does not exist."), "model_not_found"),
        ((401, "bad key"), "unauthorized"),
        ((400, "unknown parameter"), "bad_request"),
        ((422, "unprocessable"), "bad_request"),
    ],
)
def test_what_no_retry_can_mend_is_sent_once(scripted, play, act, code):
    scripted.script = lambda body, before: play.status(*act)
    with client_of(scripted) as client:
        (found,) = client.complete([ask("q")])
    assert (found.error, found.text, found.attempts) == (code, "", 1)
    assert act[1] in found.detail
    assert len(scripted.bodies) == 1
    assert client.usage.errors == {code: 1}


def test_an_exhausted_quota_is_not_a_rate_limit(scripted, play):
    scripted.script = lambda body, before: play.status(429, "pay", code="insufficient_quota")
    with client_of(scripted) as client:
        assert client.complete([ask("q")])[0].error == "quota_exhausted"
    assert len(scripted.bodies) == 1


def test_an_account_without_money_ends_the_run_and_costs_no_row(scripted, play):
    """Some providers say so with status 402: a row that failed by it would be missing for good."""
    scripted.script = lambda body, before: play.status(402, "Insufficient Balance")
    with client_of(scripted) as client:
        (found,) = client.complete([ask("q")])
    assert found.error == "quota_exhausted" and found.transient and len(scripted.bodies) == 1


DEEP = "[" * 1000 + "]" * 1000


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ('{"choices": [{"message": {"content": "{\\"score\\": 1}"}}], "usage": {"prompt_tokens": 1e999}}', None),
        (
            '{"choices": [{"message": {"content": "{\\"score\\": 1}"}}], "usage": {"prompt_tokens": 10'
            + 30 * "0"
            + "}}",
            None,
        ),
        ('{"choices": [{"message": {"content": "{\\"score\\": 1}"}, "finish_reason": "\\ud800"}]}', None),
        (json.dumps({"choices": [{"message": {"content": DEEP}}]}), "schema_mismatch"),
        ('{"choices": [{"message": {"content": "x"}, "finish_reason": "content_filter"}]}', "filtered"),
    ],
)
def test_no_reply_breaks_the_client_or_its_store(scripted, play, reply, error, tmp_path):
    scripted.script = lambda body, before: play.raw(reply)
    for _ in range(2):  # the second time from the store
        with client_of(scripted, store=tmp_path / "s.db") as client:
            (found,) = client.complete([ask("q", schema=SCHEMA)])
        assert found.error == error and 0 <= found.prompt_tokens < 2**53
    assert found.cached


def test_broken_text_in_a_refusal_is_kept_readable(scripted, play, tmp_path):
    refusal = '{"error": {"message": "no \\ud800", "code": "content_filter"}}'
    scripted.script = lambda body, before: lambda handler, _: handler.send(400, refusal)
    with client_of(scripted, store=tmp_path / "s.db") as client:
        (found,) = client.complete([ask("q")])
    assert found.error == "filtered" and found.detail == "no ?"


def test_a_wrong_model_name_is_not_tried_a_thousand_times(scripted, play):
    scripted.script = lambda body, before: play.status(404, "The model `m` does not exist.")
    with client_of(scripted, concurrency=4) as client:
        found = client.complete([ask(f"q{i}") for i in range(1000)])
    assert {c.error for c in found} == {"model_not_found"}
    assert len(scripted.bodies) <= 4
    assert all("does not exist" in c.detail for c in found)


def test_one_failed_request_leaves_the_others_alone(scripted, play):
    def script(body, before):
        return play.status(500, "always") if body["messages"][0]["content"] == "q3" else play.answers

    scripted.script = script
    with client_of(scripted, backoff=0.001) as client:
        found = client.complete([ask(f"q{i}") for i in range(6)])
    assert [c.error for c in found] == [None, None, None, "server_error", None, None]
    assert found[3].attempts == POLICIES["server_error"].retry + 1
    assert found[3].transient
    assert not found[0].transient


@pytest.mark.parametrize(
    ("text", "choice", "code"),
    [
        ("", {}, "empty_reply"),
        ("  \n", {}, "empty_reply"),
        ('{"score": 3', {"finish_reason": "length"}, "truncated_json"),
        ('{"score": 3', {}, "invalid_json"),
        ("The score is 3", {}, "invalid_json"),
        ('{"score": 7}', {}, "schema_mismatch"),
        ('{"score": 3, "more": 1}', {}, "schema_mismatch"),
        ('{"score": NaN}', {}, "invalid_json"),
        ("[" * 5000, {}, "invalid_json"),
    ],
)
def test_replies_that_will_not_do_are_asked_again_a_bounded_number_of_times(
    scripted, play, text, choice, code, tmp_path
):
    request = ask("q", schema=None if code == "empty_reply" else SCHEMA)
    scripted.script = lambda body, before: play.says(text, **choice)
    for sent in (3, 3):  # the failure is a fact about this request: the second run sends nothing
        with client_of(scripted, store=tmp_path / "s.db") as client:
            (found,) = client.complete([request])
        assert found.error == code
        assert found.text == text
        assert len(scripted.bodies) == sent
    assert len({body["seed"] for body in scripted.bodies}) == 3  # equal seeds would give the same bad reply again
    assert not found.transient


def test_a_good_reply_after_bad_ones_is_taken_and_all_tokens_are_counted(scripted, play):
    replies = [play.says("no JSON"), play.says('{"score": 9}'), play.says('```json\n{"score": 4}\n```')]
    scripted.script = lambda body, before: replies[len(scripted.bodies) - 1]
    with client_of(scripted) as client:
        (found,) = client.complete([ask("q", schema=SCHEMA)])
    assert found.json() == {"score": 4}
    assert found.attempts == 3
    assert client.usage.retries == {"invalid_json": 1, "schema_mismatch": 1}
    assert client.usage.prompt_tokens == 21  # of all three: they were paid for


def test_null_content_is_an_empty_reply_and_parts_are_joined(scripted, play):
    contents = [None, [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]]
    scripted.script = lambda body, before: play.raw(
        json.dumps({"choices": [{"message": {"content": contents[len(scripted.bodies) - 1]}}], "usage": None})
    )
    with client_of(scripted) as client:
        (found,) = client.complete([ask("q")])
    assert found.text == "ab"
    assert client.usage.retries == {"empty_reply": 1}


def test_a_deadline_covers_all_attempts(scripted, play, tmp_path):
    scripted.script = lambda body, before: play.status(500, "down")
    started = time.monotonic()
    with client_of(scripted, deadline=0.3, backoff=0.2, store=tmp_path / "s.db") as client:
        (found,) = client.complete([ask("q")])
        assert (found.error, found.transient) == ("deadline", True)
        assert time.monotonic() - started < 20
    scripted.script = lambda body, before: play.answers
    with client_of(scripted, store=tmp_path / "s.db") as client:
        assert client.complete([ask("q")])[0].ok  # a failure of the moment is not kept


def test_a_server_killed_mid_run_and_started_again_costs_nothing(scripted, play, tmp_path):
    requests = [ask(f"q{i}") for i in range(40)]
    expected = sound(scripted, requests)
    dead = threading.Event()
    scripted.script = lambda body, before: (
        play.answers if len(scripted.bodies) < 10 else play.held(dead.is_set, play.hangs(0.1))
    )
    port = scripted.server_port
    revived = []

    def kill() -> None:
        while len(scripted.bodies) < 12:
            time.sleep(0.002)
        scripted.die()
        dead.set()

    def revive() -> None:
        if not revived:
            revived.append(play.ScriptedServer(port))

    endpoint = Endpoint(scripted.url, "m", revision="r", revive=revive)
    threading.Thread(target=kill).start()
    with Client(endpoint, store=tmp_path / "s.db", concurrency=4, backoff=0.01) as client:
        found = client.complete(requests)
        assert client.usage.retries["connection"] >= 1
    assert [c.text for c in found] == expected
    assert len(revived) == 1
    # nothing twice: of the requests that were answered before, none was sent to the second server
    again = {json.dumps(b) for b in revived[0].bodies} & {json.dumps(b) for b in scripted.bodies}
    assert len(again) <= 4  # those that were under way when it died
    revived[0].die()


def test_a_server_that_cannot_be_revived_ends_the_run_with_its_reason(scripted):
    def revive() -> None:
        raise WindtunnelError("the server died 3 times; its log ends: out of memory")

    scripted.die()
    with (
        Client(Endpoint(scripted.url, "m", revive=revive), backoff=0.01) as client,
        pytest.raises(WindtunnelError, match="out of memory"),
    ):
        client.complete([ask(f"q{i}") for i in range(100)])


def test_an_address_that_is_lost_ends_the_run_instead_of_failing_every_row(scripted, play, tmp_path):
    requests = [ask(f"q{i}") for i in range(600)]
    with client_of(scripted, backoff=0.0005, store=tmp_path / "s.db") as client:
        client.complete(requests[:5])
        scripted.die()
        with pytest.raises(WindtunnelError, match=r"does not answer: .* completion store"):
            client.complete(requests)
    store = CompletionStore(tmp_path / "s.db")
    assert len(store) == 5
    store.close()


def test_an_address_that_does_not_answer_is_named_early_and_in_the_error(caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    secret = url.replace("//", "//user:hunter2@") + "?token=hunter2"
    with Client(Endpoint(secret, "m"), backoff=0.001) as client:
        first, _ = client.complete([ask("one"), ask("two")])
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith(f"no answer from {url} (ConnectError") and "trying again for up to" in said
    assert first.error == "connection" and first.attempts == 10
    with pytest.raises(WindtunnelError, match=rf"model 'm' does not answer .*\(at {url}\)") as failed:
        first.settled()
    assert "hunter2" not in said + str(failed.value)


RUN = """
import json, sys
from pathlib import Path
from windtunnel.generators.client.client import Client, Endpoint, Request
url, store, rows = sys.argv[1:]
requests = [Request(messages=({"role": "user", "content": f"q{i}"},)) for i in range(200)]
with Client(Endpoint(url, "m", revision="r"), store=store, concurrency=8) as client:
    found = client.complete(requests)
Path(rows).write_text(json.dumps([c.text for c in found]))
"""


def test_kill_9_of_the_run_loses_nothing_and_sends_nothing_twice(scripted, play, tmp_path):
    expected = sound(scripted, [ask(f"q{i}") for i in range(200)])
    limit = 0
    scripted.script = lambda body, before: (
        play.hangs(0.01) if len(scripted.bodies) <= limit else play.held(lambda: limit == 200)
    )
    command = [sys.executable, "-c", RUN, scripted.url, str(tmp_path / "s.db"), str(tmp_path / "rows.json")]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / ".src")}
    for limit in (30, 90):
        run = subprocess.Popen(command, env=env)
        while len(scripted.bodies) <= limit:
            assert run.poll() is None
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        run.wait()
    limit = 200
    time.sleep(0.1)
    subprocess.run(command, env=env, check=True)
    assert json.loads((tmp_path / "rows.json").read_text()) == expected
    twice = [count for count in scripted.seen.values() if count > 1]
    assert len(scripted.seen) == 200
    assert len(twice) <= 2 * 8  # only what was under way at a kill: its answer never reached the run
    store = CompletionStore(tmp_path / "s.db")
    assert len(store) == 200
    store.close()


def test_keys_reach_the_server_and_nothing_else(scripted, play, tmp_path, monkeypatch, caplog):
    secret = "sk-5ecret-0f-the-h0use"
    monkeypatch.setenv("WT_TEST_KEY", secret)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-meant-for-another-address")
    caplog.set_level(logging.DEBUG)
    endpoint = Endpoint(scripted.url, "m", key_variable="WT_TEST_KEY")
    acts = [
        play.status(500, f"who sent {secret}?"),
        play.status(400, f"Incorrect use of {secret}"),
        play.says(f"I was called with Bearer {secret}"),
    ]
    scripted.script = lambda body, before: acts[len(scripted.bodies) - 1]
    with Client(endpoint, store=tmp_path / "s.db", backoff=0.01) as client:
        found = [*client.complete([ask("q1")]), *client.complete([ask("q2")])]
        assert scripted.headers[0]["authorization"] == f"Bearer {secret}"
        for place in (repr(found), repr(client.usage), repr(endpoint), caplog.text):
            assert secret not in place
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()
    assert found[0].error == "bad_request"
    assert found[1].text == "I was called with Bearer [key]"
    with Client(Endpoint(scripted.url, "m")) as client:
        acts.append(play.answers)
        client.complete([ask("q")])
    assert "sk-" not in scripted.headers[-1]["authorization"]


def test_a_missing_key_says_which_variable(scripted, monkeypatch):
    monkeypatch.delenv("WT_TEST_KEY", raising=False)
    with (
        Client(Endpoint(scripted.url, "m", key_variable="WT_TEST_KEY")) as client,
        pytest.raises(RecipeError, match="WT_TEST_KEY, which is not set"),
    ):
        client.complete([ask("q")])
    assert scripted.bodies == []


def test_url_credentials_stay_out_of_revisions_and_messages():
    endpoint = Endpoint("https://user:pass@host:8443/v1?token=abc", "m")
    assert endpoint.revision == endpoint.public_url == "https://host:8443/v1"
