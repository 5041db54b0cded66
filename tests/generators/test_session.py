"""The driver of chains: order, lag, seeds, and what happens when a line breaks."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.session import Session, Share
from windtunnel.schemas.errors import WindtunnelError


class Late:
    """A client whose answers take the longer the earlier they were asked for."""

    def __init__(self, slow=0.02, error=None):
        self.pool, self.slow, self.error, self.open, self.most = ThreadPoolExecutor(64), slow, error, 0, 0
        self.lock = threading.Lock()

    def submit(self, requests):
        with self.lock:
            self.open += 1
            self.most = max(self.most, self.open)
        number = int(requests[0].prompt)
        return self.pool.submit(self._answer, number, len(requests))

    def _answer(self, number, count):
        time.sleep(self.slow * (3 - number % 4))
        with self.lock:
            self.open -= 1
        return [Completion(f"answer {number}", "stop", error=self.error)] * count


def session(client=None, **params):
    return Session("kind", 7, client or Late(), **params)


def chain(run, number, rounds=2):
    said = []
    for _ in range(rounds):
        (completion,) = yield [run.ask("step", number, str(number))]
        said.append(completion.text)
    return number, said


@pytest.mark.parametrize("window", [1, 3, 50])
def test_results_come_in_the_order_of_the_chains(window):
    run = session(window=window)
    found = list(run.drive(chain(run, n) for n in range(12)))
    assert found == [(n, [f"answer {n}"] * 2) for n in range(12)]
    assert run.asked["step"] == 24
    assert run.client.most <= window


def test_a_chain_knows_the_results_up_to_the_window_and_none_after():
    run = session()
    decided, known = [], {}

    def chains():
        for n in range(20):
            known[n] = list(decided)
            yield chain(run, n, rounds=1 + n % 3)

    for number, _ in run.drive(chains(), window=5):
        decided.append(number)
    assert known == {n: list(range(max(0, n - 4))) for n in range(20)}


def test_no_more_chains_are_started_than_are_wanted():
    run, done, started = session(), [], []

    def chains():
        for n in range(100):
            started.append(n)
            yield chain(run, n)

    for number, _ in run.drive(chains(), missing=lambda: 6 - len(done), window=4):
        done.append(number)
    assert started == done == list(range(6))


def test_a_chain_that_asks_nothing_still_has_its_turn():
    run = session()

    def silent(n):
        return n
        yield

    assert list(run.drive(silent(n) if n % 2 else chain(run, n) for n in range(4)))[1] == 1


def test_seeds_depend_on_recipe_seed_kind_row_and_purpose():
    run = session()
    seeds = {run.ask(p, i, "x").request.seed for p in ("a", "b") for i in range(50)}
    assert len(seeds) == 100 and all(0 <= s < 2**31 for s in seeds)
    assert run.ask("a", 3, "other text").request.seed == run.ask("a", 3, "x").request.seed
    assert Session("kind", 8, Late()).ask("a", 3, "x").request.seed != run.ask("a", 3, "x").request.seed
    assert Session("other", 7, Late()).ask("a", 3, "x").request.seed != run.ask("a", 3, "x").request.seed
    assert run.random("x", 1).random() == session().random("x", 1).random()


@pytest.mark.parametrize("error", ["connection", "timeout", "unauthorized", "model_not_found", "deadline"])
def test_a_broken_line_ends_the_step_instead_of_costing_rows(error):
    run = session(Late(error=error))
    with pytest.raises(WindtunnelError, match="run again"):
        list(run.drive(chain(run, n) for n in range(3)))


@pytest.mark.parametrize("error", ["empty_reply", "context_too_long", "invalid_json", "bad_request"])
def test_what_is_a_fact_about_the_request_reaches_the_chain(error):
    run = session(Late(error=error))
    assert len(list(run.drive(chain(run, n) for n in range(3)))) == 3


@pytest.mark.parametrize("total", [0, 1, 7, 100])
@pytest.mark.parametrize("shards", [1, 3, 8])
def test_shares_cover_all_rows_once(total, shards):
    rows = [n for rank in range(shards) for n in Share(rank, shards).of(total)]
    assert rows == list(range(total))
    sizes = [len(Share(rank, shards).of(total)) for rank in range(shards)]
    assert max(sizes) - min(sizes) <= 1


def test_a_future_that_fails_raises_its_error():
    class Broken:
        def submit(self, requests):
            future: Future = Future()
            future.set_exception(WindtunnelError("lost"))
            return future

    run = session(Broken())
    with pytest.raises(WindtunnelError, match="lost"):
        list(run.drive([chain(run, 0)]))
