"""Boundaries for several looks: spending, known values, simulated error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.trainer.stats.interim_analyses import LOOKS, SPENDING, boundary, level_of, spent


def crossings(looks, runs: int = 200_000, draws: int = 12) -> list[float]:
    """The share of paths without any effect that have crossed, up to and with each look."""
    paths = np.random.default_rng(0).standard_normal((runs, draws))
    crossed = np.zeros(runs, dtype=bool)
    shares = []
    for look in looks:
        seen = paths[:, : look.seeds]
        t = seen.mean(axis=1) * np.sqrt(look.seeds) / seen.std(axis=1, ddof=1)
        crossed |= np.abs(t) > look.critical
        shares.append(float(crossed.mean()))
    return shares


@pytest.mark.parametrize("spending", SPENDING)
def test_error_spent_is_the_error_declared(spending: str) -> None:
    looks = boundary(LOOKS, 0.05, spending)  # type: ignore[arg-type]
    for share, look in zip(crossings(looks), looks, strict=True):
        assert share == pytest.approx(look.spent, abs=4 * np.sqrt(look.spent / 200_000) + 3e-4)
    assert looks[-1].spent == pytest.approx(0.05)


def test_looking_naively_costs_more_than_twice_the_error() -> None:
    naive = [type(look)(look.seeds, 0, float(stats.t.ppf(0.975, look.seeds - 1)), 0) for look in boundary()]
    assert crossings(naive)[-1] > 0.1


def test_one_look_is_the_plain_t_test() -> None:
    (look,) = boundary((5,))
    assert look.critical == pytest.approx(stats.t.ppf(0.975, 4), rel=1e-9)
    assert look.level == pytest.approx(0.05, rel=1e-9)


def test_many_seeds_come_to_the_normal_boundary_of_lan_and_demets() -> None:
    """Two equal looks with O'Brien-Fleming spending at 5 %: 2.963 and 1.969 for normal statistics."""
    first, second = boundary((50, 100), 0.05, "obrien_fleming")
    z = [stats.norm.isf(look.level / 2) for look in (first, second)]
    assert z == [pytest.approx(2.963, abs=0.01), pytest.approx(1.969, abs=0.01)]


def test_spending_ends_at_alpha_and_starts_low() -> None:
    assert spent("obrien_fleming", 0.05, 1.0) == pytest.approx(0.05)
    assert spent("pocock", 0.05, 1.0) == pytest.approx(0.05)
    assert spent("obrien_fleming", 0.05, 0.25) < 0.001 < spent("power", 0.05, 0.25) < spent("pocock", 0.05, 0.25)
    assert boundary()[0].critical < 15 < 200 < boundary(LOOKS, 0.05, "obrien_fleming")[0].critical


@pytest.mark.parametrize("looks", [(), (1, 3), (5, 3), (3, 3)])
def test_wrong_looks_are_refused(looks: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError, match="looks"):
        boundary(looks)


def test_undeclared_looks_leave_a_fifth_each_and_six_percent_in_all() -> None:
    assert [level_of(20, 0.95, after=taken).alpha for taken in ((), (3,), (3, 8))] == pytest.approx([0.05, 0.01, 0.002])
    plan = [(3, 0.05), (12, 0.01), (20, 0.002)]
    looks = [type(boundary()[0])(n, 0, float(stats.t.isf(level / 2, n - 1)), level) for n, level in plan]
    shares = crossings(looks, 100_000, 20)
    assert shares[0] == pytest.approx(0.05, abs=0.003)
    assert 0.055 < shares[1] < shares[2] < 0.0625


def test_looks_at_another_number_of_seeds_wait_for_the_next() -> None:
    at = level_of(4, 0.95, (3, 5, 8))
    assert at.waiting == 5 and at.alpha == boundary((3, 5, 8))[1].level
    assert level_of(5, 0.95, (3, 5, 8)).waiting is None


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"looks": (3, 5)}, InputError, "the looks end at 5 seeds and there are 6"),
        ({"looks": (3, 8), "after": (3,)}, RecipeError, "give one"),
        ({"after": (6,)}, RecipeError, "with 6 seeds, and there are 6"),
        ({"after": (5, 3)}, RecipeError, "increasing"),
        ({"after": (1,)}, RecipeError, "from 2 on"),
    ],
)
def test_looks_that_cannot_be_are_refused_in_words(given: dict, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        level_of(6, 0.95, **given)
