"""Learning-rate shapes: where they rise, hold and fall, for any number of steps."""

from __future__ import annotations

from itertools import pairwise

import pytest

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import make, names
from windtunnel.trainer.schedules._schedule import Schedule


def curve(spec, steps):
    schedule = make(Schedule, spec)
    return [schedule.scale(step, steps) for step in range(steps)]


def test_warmup_stable_decay():
    factors = curve({"wsd": {"warmup": 0.1, "decay": 0.2}}, 100)
    assert factors[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert factors[10:80] == [1.0] * 70
    assert factors[80:] == pytest.approx([1 - (i + 0.5) / 20 for i in range(20)])


@pytest.mark.parametrize("shape", ["linear", "sqrt", "cosine"])
def test_decay_falls_to_its_floor(shape):
    factors = curve({"wsd": {"warmup": 0, "decay": 1.0, "floor": 0.1, "shape": shape}}, 1000)
    assert all(a > b for a, b in pairwise(factors))
    assert factors[0] > 0.97
    assert 0.1 < factors[-1] < 0.101


def test_cosine_is_halfway_in_the_middle():
    factors = curve({"cosine": {"warmup": 0.0, "floor": 0.1}}, 101)
    assert factors[50] == pytest.approx(0.55)
    assert factors[-1] == pytest.approx(0.1, abs=1e-3)


def test_cosine_falls_from_where_the_warmup_ends():
    factors = curve({"cosine": {"warmup": 0.2, "floor": 0.1}}, 50)
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10] == pytest.approx(1, abs=1e-3) and factors[10] < 1
    assert factors[29] + factors[30] == pytest.approx(2 * 0.55)  # halfway down between the two
    assert factors[-1] == pytest.approx(0.1, abs=1e-3)


def test_sqrt_falls_fast_at_first():
    factors = curve({"wsd": {"warmup": 0, "decay": 1.0, "floor": 0.2, "shape": "sqrt"}}, 2)
    assert factors == pytest.approx([0.2 + 0.8 * (1 - 0.25**0.5), 0.2 + 0.8 * (1 - 0.75**0.5)])


def test_constant():
    assert curve({"constant": {"warmup": 0.5}}, 4) == [0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", names("schedule"))
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 1000])
def test_a_short_run_comes_near_the_peak(name, steps):
    assert max(curve(name, steps)) > 0.4


def test_shares_that_do_not_fit():
    with pytest.raises(RecipeError, match="together at most 1"):
        make(Schedule, {"wsd": {"warmup": 0.6, "decay": 0.6}})
