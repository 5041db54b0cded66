"""Boundaries for several looks: spending, known values, simulated error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from windtunnel.schemas.errors import RecipeError
from windtunnel.trainer.stats.interim_analyses import LOOKS, boundary, spent


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


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
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
    first, second = boundary((50, 100))
    z = [stats.norm.isf(look.level / 2) for look in (first, second)]
    assert z == [pytest.approx(2.963, abs=0.01), pytest.approx(1.969, abs=0.01)]


def test_spending_ends_at_alpha_and_starts_low() -> None:
    assert spent("obrien_fleming", 0.05, 1.0) == pytest.approx(0.05)
    assert spent("pocock", 0.05, 1.0) == pytest.approx(0.05)
    assert spent("obrien_fleming", 0.05, 0.25) < 0.001 < spent("pocock", 0.05, 0.25)


@pytest.mark.parametrize("looks", [(), (1, 3), (5, 3), (3, 3)])
def test_wrong_looks_are_refused(looks: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError, match="looks"):
        boundary(looks)
