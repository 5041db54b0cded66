"""The order of training: within the budget, the same whatever the step asked first, shared between data sets."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.row_schedule import RowSchedule
from windtunnel.trainer.data.stratified import Strata


def schedule(n=200, seed=0, step=64, budget=1500, epochs=4.0, first=0) -> RowSchedule:
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 2**63, 400).astype(np.uint64)[first : first + n]
    weights = rng.integers(1, 20, 400)[first : first + n]
    strata = Strata.by_source_and_length(np.arange(first, first + n) % 2, ["even", "odd"], weights)
    return RowSchedule(keys, weights, strata, seed, step, budget, epochs)


@pytest.mark.parametrize("budget", [1, 63, 64, 65, 1500, 1999, 5003])
def test_the_budget_is_met_to_the_token(budget):
    plan = schedule(budget=budget)
    steps = [plan.parts(k) for k in range(plan.steps)]
    assert sum(part.targets for parts in steps for part in parts) == budget
    assert all(steps)
    assert plan.steps == max(1, budget // 64)


def test_every_row_comes_once_an_epoch():
    plan = schedule(n=50)
    plan = schedule(n=50, budget=plan.total * 3)
    rows = [part.row for k in range(plan.steps) for part in plan.parts(k)]
    for epoch in range(3):
        assert sorted(rows[epoch * 50 : (epoch + 1) * 50]) == list(range(50))
    assert rows[:50] != rows[50:100]
    assert plan.uses().tolist() == [3] * 50


def test_uses_counts_what_the_steps_hold():
    plan = schedule(budget=1999)
    rows = [part.row for k in range(plan.steps) for part in plan.parts(k)]
    assert plan.uses().tolist() == np.bincount(rows, minlength=200).tolist()


def test_a_step_does_not_depend_on_those_before():
    plan = schedule(budget=5000)
    expected = [plan.parts(k) for k in range(plan.steps)]
    assert [schedule(budget=5000).parts(k) for k in reversed(range(plan.steps))] == expected[::-1]


def test_rows_that_two_data_sets_share_keep_their_order():
    def order(plan: RowSchedule, offset: int) -> list[int]:
        return [part.row + offset for k in range(plan.steps) for part in plan.parts(k)]

    small, large = schedule(n=100, budget=600, first=50), schedule(n=300, budget=2000)
    both = set(order(small, 50)) & set(order(large, 0))
    assert len(both) > 10
    stratum = dict(zip(range(300), large.strata.of.tolist(), strict=True))  # within which the order is that of the hash
    for one in range(len(large.strata.keys)):
        of = {row for row in both if stratum[row] == one}
        assert [r for r in order(small, 50) if r in of] == [r for r in order(large, 0) if r in of]


def test_seeds_give_other_orders():
    assert schedule(seed=0).parts(0) != schedule(seed=1).parts(0)


def test_steps_are_even():
    plan = schedule(budget=1920)
    sizes = [sum(p.targets for p in plan.parts(k)) for k in range(plan.steps)]
    assert max(abs(size - 64) for size in sizes) < 20


def test_too_large_a_budget_says_how_many_tokens_there_are():
    total = schedule().total
    with pytest.raises(InputError, match=rf"of the {total} available.*lower the budget to {2 * total} or raise"):
        schedule(budget=2 * total + 1, epochs=2)


def test_all_that_is_allowed_may_be_used():
    total = schedule().total
    plan = schedule(budget=2 * total, epochs=2, step=19)  # the largest row has 19
    assert plan.uses().tolist() == [2] * 200
    assert sum(part.targets for part in plan.parts(plan.steps - 1)) > 0


def test_a_row_larger_than_a_step_is_an_error():
    with pytest.raises(InputError, match="raise batch_tokens to 19"):
        schedule(step=10)
