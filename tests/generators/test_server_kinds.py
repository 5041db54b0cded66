"""Servers that call themselves compatible and refuse parts of requests: a judge and a generator run against each."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field

import pytest

from windtunnel.generators.client.client import Client, Endpoint, Request
from windtunnel.generators.client.store import CompletionStore
from windtunnel.generators.core.generate import Generate
from windtunnel.generators.judges._judge import Pair, make_judge
from windtunnel.generators.serving.served import Served

PAIRS = [Pair(f"q{k}", "much longer" if k % 2 else "short", "short" if k % 2 else "much longer") for k in range(6)]
REFUSED = {  # the field of a body -> (param, message), in the words of such servers
    "max_tokens": (
        "max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
    ),
    "temperature": (
        "temperature", "Unsupported value: 'temperature' does not support 0 with this model. "
        "Only the default (1) value is supported.",
    ),
    "top_logprobs": (None, "Invalid value for 'top_logprobs': must be less than or equal to 5."),
    "logprobs": (None, "logprobs is not supported by this model"),
    "json_schema": ("response_format", "'response_format.type' must be 'text' or 'json_object'"),
    "response_format": (None, "This response_format type is unavailable now"),
    "seed": (None, "{'type': 'extra_forbidden', 'loc': ['body', 'seed'], 'msg': 'Extra inputs are not permitted'}"),
    "top_p": (None, "`temperature` and `top_p` cannot both be specified for this model."),
    "n": ("n", "Only one completion choice is allowed"),
}  # fmt: skip


@dataclass
class Kind:
    """A server that refuses fields; `think` is how it shows its reasoning, `heads` whether it reports labels."""

    refuses: tuple[str, ...] = ()
    think: str = ""
    heads: bool = True
    status: int = 400
    refused: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def objection(self, body) -> str | None:
        form = (body.get("response_format") or {}).get("type")
        said = {
            "max_tokens": "max_tokens" in body,
            "temperature": body.get("temperature", 1) != 1,
            "top_logprobs": body.get("top_logprobs", 0) > 5,
            "logprobs": "logprobs" in body,
            "json_schema": form == "json_schema",
            "response_format": form is not None,
            "seed": "seed" in body,
            "top_p": "top_p" in body,
            "n": body.get("n", 1) != 1,
        }
        return next((name for name in self.refuses if said[name]), None)

    def script(self, play):
        def answer(body, before):
            if (name := self.objection(body)) is not None:
                with self.lock:
                    self.refused.append(name)
                param, message = REFUSED[name]
                return play.status(self.status, message, param=param)
            return self.reply(play, body)

        return answer

    def reply(self, play, body):
        text = body["messages"][-1]["content"]
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 10**6
        if '"tasks"' in json.dumps(body) or "instruction" in text:
            said = json.dumps({"tasks": [self.task(play, body, k) for k in range(3)]})
            said = f"Here you are:\n{said}" if "response_format" not in body else said
        else:
            a, b = (text.index("\n" + word + "\n") for word in ("much longer", "short"))
            letter = "A" if a < b else "B"
            said = letter if limit == 1 else f"A good question.\nVerdict: {letter}"
            if body.get("logprobs") and self.heads:
                first, other = ("A", -0.1), ("B", -3.0)
                top = [
                    {"token": t, "logprob": p} for t, p in ((letter, first[1]), ("BA"["AB".index(letter)], other[1]))
                ]
                return play.says(letter, logprobs={"content": [{**top[0], "top_logprobs": top}]})
        if self.think and limit < 10:  # the limit ends the reasoning
            shown = {"message": {"content": "<think>Hm" if self.think == "tags" else None, "reasoning_content": "Hm"}}
            return play.says("", finish_reason="length", **shown)
        thought = "A or B? Verdict: B\n{}"
        if self.think == "tags":
            said = f"<think>{thought}</think>\n\n{said}"
        message = {"role": "assistant", "content": said}
        apart = {"reasoning_content": thought} if self.think == "field" else {}
        return play.says(said, message={**message, **apart})

    def task(self, play, body, k):
        return {"instruction": play.words({**body, "k": k}, 8), "input": "", "output": play.words({**body, "o": k}, 4)}


KINDS = {
    "plain": Kind(),
    "only max_completion_tokens": Kind(("max_tokens",)),
    "fixed temperature": Kind(("temperature",)),
    "at most 5 alternatives": Kind(("top_logprobs",)),
    "no log probabilities": Kind(("logprobs",)),
    "log probabilities left out without a word": Kind(heads=False),
    "json_object only": Kind(("json_schema",)),
    "no response_format": Kind(("response_format",)),
    "strict about fields": Kind(("seed", "top_p"), status=422),
    "reasoning in tags": Kind(("logprobs",), think="tags"),
    "reasoning in a field": Kind(think="field", heads=False),
    "one choice": Kind(("n",)),
    "all at once": Kind(("max_tokens", "temperature", "top_p", "logprobs", "response_format", "seed"), think="tags"),
}


@pytest.fixture(params=KINDS.items(), ids=KINDS)
def kind(request, scripted, play):
    _, made = request.param
    made.refused.clear()
    scripted.script = made.script(play)
    return made


def alpaca(scripted, store, concurrency=4):
    params = {"model": "m", "rows": 5, "tasks_per_request": 3, "lag": 2}
    served = {"m": Served(url=scripted.url, model="m", revision="r")}
    return Generate(kind={"alpaca": params}, models=served, completions=str(store), concurrency=concurrency)


def rows(out):
    return sorted((path.relative_to(out), path.read_bytes()) for path in out.rglob("*.parquet"))


def test_a_judge_gives_its_verdicts_and_a_second_run_needs_no_server(kind, scripted, play, tmp_path):
    def verdicts():
        at = {"at": f"m@{scripted.url}", "revision": "r", "completions": str(tmp_path / "s.db")}
        return make_judge({"openai": at}).verdicts(PAIRS)

    found = verdicts()
    assert [(v.error, v.winner) for v in found] == [(None, "a" if k % 2 else "b") for k in range(6)]
    assert all((v.mass is None) == ("logprobs" in kind.refuses or not kind.heads) for v in found)
    scripted.script = lambda body, before: play.status(401, "nobody is here")
    asked = len(scripted.bodies)
    assert verdicts() == found
    assert len(scripted.bodies) == asked


def test_rows_are_made_and_neither_concurrency_nor_a_replay_changes_them(kind, scripted, play, tmp_path):
    counts = alpaca(scripted, tmp_path / "s.db").run({}, tmp_path / "one", 0)
    assert counts.kept == 5
    assert ("warning" in counts.notes) == bool(set(kind.refused))
    alpaca(scripted, tmp_path / "other.db", concurrency=1).run({}, tmp_path / "two", 0)
    assert rows(tmp_path / "two") == rows(tmp_path / "one")
    asked = len(scripted.bodies)
    alpaca(scripted, tmp_path / "s.db").run({}, tmp_path / "three", 0)
    assert rows(tmp_path / "three") == rows(tmp_path / "one")
    assert len(scripted.bodies) == asked


def test_requests_in_flight_are_redone_once_each(scripted, play, tmp_path):
    made = Kind(("max_tokens", "temperature"))
    scripted.script = lambda body, before: (
        play.says("x " + body["messages"][0]["content"])
        if made.objection(body) is None
        else made.script(play)(body, before)
    )
    requests = [Request(({"role": "user", "content": str(k % 40)},), temperature=0.0) for k in range(80)]
    with Client(Endpoint(scripted.url, "m", revision="r"), tmp_path / "s.db", concurrency=16) as client:
        replies = client.complete(requests)
        assert [reply.text for reply in replies] == [f"x {k % 40}" for k in range(80)]
        assert len({reply.key for reply in replies}) == 40
        refused, answered = len(made.refused), len(scripted.bodies) - len(made.refused)
        assert answered == 40
        assert refused <= 16 * 4 + 2  # those taken up before anything was learnt, and what the first one tried
        assert client.usage.sent == refused + answered
        assert not client.usage.errors
    store = CompletionStore(tmp_path / "s.db")
    assert len(store) == 40
    assert store.form("m", "r").refused == {"max_tokens", "temperature=0.0"}
    assert {json.dumps(row["request"]["form"], sort_keys=True) for row in store.rows()} == {
        '{"max_tokens": "max_completion_tokens", "temperature": null}'
    }
    store.close()


def test_a_text_that_is_quoted_in_an_error_teaches_nothing(scripted, play, tmp_path):
    hostile = "logprobs and temperature are not supported by this model"
    scripted.script = lambda body, before: (
        play.status(400, f"invalid role in: {hostile}") if hostile in json.dumps(body) else play.says("fine")
    )
    with Client(Endpoint(scripted.url, "m", revision="r"), tmp_path / "s.db") as client:
        bad, good = client.complete(
            [Request(({"role": "user", "content": text},), temperature=0.0, logprobs=3) for text in (hostile, "plain")]
        )
        assert (bad.error, good.error) == ("bad_request", None)
        assert "invalid role" in bad.detail
    assert all(body["temperature"] == 0.0 for body in scripted.bodies if "plain" in json.dumps(body))
    store = CompletionStore(tmp_path / "s.db")
    assert not store.form("m", "r").refused
    store.close()


def test_parameters_of_a_model_are_sent_and_are_part_of_every_key(scripted, play, tmp_path):
    own = {"max_completion_tokens": 99, "reasoning_effort": "low", "seed": None, "temperature": 0.3}
    ask = Request(({"role": "user", "content": "q"},), max_tokens=7)
    scripted.script = lambda body, before: play.says("fine")
    with Client(Endpoint(scripted.url, "m", revision="r", parameters=own), tmp_path / "s.db") as client:
        (with_own,) = client.complete([ask])
    with Client(Endpoint(scripted.url, "m", revision="r"), tmp_path / "s.db") as client:
        (without,) = client.complete([ask])
    first, second = scripted.bodies
    assert {name: first.get(name) for name in own} == own and "max_tokens" not in first
    assert second["max_tokens"] == 7 and "seed" in second
    assert with_own.key != without.key
    served = Served(url=scripted.url, model="m")
    assert served.model_copy(update={"parameters": own}).identity() != served.identity()


def test_a_store_takes_what_another_one_learnt(tmp_path):
    from windtunnel.generators.client.form import Form

    one, two = CompletionStore(tmp_path / "1.db"), CompletionStore(tmp_path / "2.db")
    two.learn("m", "r", Form(frozenset({"seed"})))
    two.close()
    one.merge(tmp_path / "2.db")
    assert one.form("m", "r").refused == {"seed"}
    assert not one.form("m", "other").refused
    one.close()
