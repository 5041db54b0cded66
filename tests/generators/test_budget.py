"""A budget ends a run before more is spent, keeps what was answered, and a larger one goes on to the same bytes."""

from __future__ import annotations

import json

import pytest

from windtunnel.generators.client.budget import Budget, BudgetSpent
from windtunnel.generators.client.client import Client, Endpoint, Request
from windtunnel.generators.client.store import CompletionStore
from windtunnel.generators.core.generate import Generate
from windtunnel.generators.serving.served import Served
from windtunnel.schemas.spending import Spending, spent_of, total

PRICE = (1000.0, 10000.0)  # dollars per million: a reply of 7 and 5 tokens costs 5.7 cents
REPLY = (7 * PRICE[0] + 5 * PRICE[1]) / 1e6


def requests(number, **params):
    return [Request(({"role": "user", "content": f"q{k}"},), max_tokens=10, **params) for k in range(number)]


def client(scripted, store, dollars, concurrency=8):
    budget = Budget(dollars=dollars, prices={"m@r": PRICE})
    endpoint = Endpoint(scripted.url, "m", revision="r", price=PRICE)
    return Client(endpoint, store, concurrency, budget=budget)


@pytest.mark.parametrize("concurrency", [1, 32])
def test_a_budget_is_never_exceeded_and_every_paid_answer_is_kept(scripted, play, tmp_path, concurrency):
    scripted.script = lambda body, before: play.hangs(0.005)
    store = tmp_path / "s.db"
    with (
        client(scripted, store, 2.0, concurrency) as asked,
        pytest.raises(BudgetSpent, match=r"the budget of \$2 does"),
    ):
        asked.complete(requests(100))
    kept = CompletionStore(store)
    assert len(kept) == len(scripted.bodies)  # nothing in flight was lost
    assert 2.0 - 0.2 < len(kept) * REPLY <= 2.0
    kept.close()
    with client(scripted, store, 2.0) as asked, pytest.raises(BudgetSpent):
        asked.complete(requests(100))  # what is spent stays spent
    assert len(scripted.bodies) * REPLY <= 2.0
    with client(scripted, store, 9.0) as asked:
        assert all(reply.ok for reply in asked.complete(requests(100)))
    assert len(scripted.bodies) == 100  # each was paid once


def test_many_small_batches_end_as_cleanly_as_a_large_one(scripted, play, tmp_path):
    scripted.script = lambda body, before: play.hangs(0.005)
    with client(scripted, tmp_path / "s.db", 1.0) as asked:
        futures = [asked.submit([request]) for request in requests(60)]
        ended = [future.exception() for future in futures]
    assert {type(error) for error in ended} == {type(None), BudgetSpent}
    kept = CompletionStore(tmp_path / "s.db")
    assert len(kept) == len(scripted.bodies) == ended.count(None)
    kept.close()


def test_replies_that_are_asked_for_again_are_paid_too_and_two_clients_share_a_budget(scripted, play, tmp_path):
    scripted.script = lambda body, before: play.says("no JSON at all")  # 4 tokens
    tokens: dict[str, tuple[int, int]] = {}
    with client(scripted, tmp_path / "s.db", 50.0) as asked:
        (reply,) = asked.complete(requests(1, schema={"type": "object"}))
        assert reply.error == "invalid_json" and len(scripted.bodies) == 3
        with client(scripted, tmp_path / "s.db", 50.0) as other:
            other.complete(requests(2))
        store = CompletionStore(tmp_path / "s.db")
        store.add_tokens(tokens, {})
        store.close()
        assert tokens == {"m@r": (7 * 5, 4 * 5)}
        with client(scripted, tmp_path / "s.db", 0.3) as poor, pytest.raises(BudgetSpent, match=r"\$0.2350 are spent"):
            poor.complete(requests(3))


def test_models_without_a_price_cost_nothing(scripted, play, tmp_path):
    budget = Budget(dollars=0.01)
    with Client(Endpoint(scripted.url, "m"), tmp_path / "s.db", budget=budget) as asked:
        assert all(reply.ok for reply in asked.complete(requests(20)))


def test_rows_are_the_same_however_often_a_budget_ended_the_step(scripted, play, tmp_path):
    def script(body, before):
        tasks = [{"instruction": play.words({**body, "k": k}, 8), "input": "", "output": "yes"} for k in range(2)]
        return play.says(json.dumps({"tasks": tasks}))

    def made(name, dollars):
        budget = dollars and Budget(dollars=dollars, prices={"m@r": PRICE})
        work = Generate(
            kind={"alpaca": {"model": "w", "rows": 12, "tasks_per_request": 2, "max_tokens": 50}},
            models={"w": Served(url=scripted.url, model="m", revision="r", price=PRICE)},
            completions=str(tmp_path / f"{name}.db"), budget=budget,
        )  # fmt: skip
        assert work.identity() == work.model_copy(update={"budget": None}).identity()
        return work.run({}, tmp_path / name, 0)

    scripted.script = script
    whole = made("whole", None)
    ended = 0
    for dollars in (1.0, 1.5, 2.0, 3.0, 99.0):
        try:
            counts = made("parts", dollars)
            break
        except BudgetSpent:
            ended += 1
    assert ended >= 2
    assert counts == whole
    rows = [(tmp_path / name / "rows" / "00000.parquet").read_bytes() for name in ("whole", "parts")]
    assert rows[0] == rows[1]
    (spent,) = spent_of(counts.model_dump())
    assert (spent.model, spent.purpose, spent.requests) == ("w", "tasks", counts.notes["requests_tasks"])
    assert spent.dollars == pytest.approx(spent.prompt_tokens * 1e-3 + spent.completion_tokens * 1e-2)


def test_spending_adds_up_and_other_notes_are_none():
    one = Spending()
    for model, purpose in (("w", "answer"), ("w", "answer"), ("j", "score/x")):
        one.add(model, purpose.replace("/", "-"), 10, 2)
    notes = one.notes({"w": (1e6, 0.0)}) | {"spent/odd": 1, "requests_x": 3, "spent/a/b/requests": "text"}
    found = spent_of({"notes": notes})
    assert [(s.model, s.requests, s.dollars) for s in found] == [("j", 1, 0.0), ("w", 2, 20.0)]
    assert total(found).completion_tokens == 6
    assert spent_of({}) == [] and total([]).dollars == 0
