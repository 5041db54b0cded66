"""Geometry: ticks, scales, paths, shades."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.charts import Scale, band, binned, line, number, scale_for, series, shade, ticks
from windtunnel.pipelines.report.sections import rewards


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (-0.03, 0.06, ["−0.025", "0.000", "+0.025", "+0.050"]),
        (0, 400_000, ["0", "+100,000", "+200,000", "+300,000", "+400,000"]),
        (-2, 2, ["−2", "−1", "0", "+1", "+2"]),
        (0.00011, 0.00019, ["+0.00012", "+0.00014", "+0.00016", "+0.00018"]),
    ],
)
def test_ticks_are_round_and_say_what_they_are(low: float, high: float, labels: list[str]) -> None:
    assert [tick.label for tick in ticks(Scale(low, high), 4, sign=True)] == labels


def test_ticks_lie_where_their_labels_say() -> None:
    scale = Scale(-1.3, 7.7)
    for tick in ticks(scale, 5):
        assert tick.at == pytest.approx(scale.at(float(tick.label.replace("−", "-"))), abs=0.01)


def test_scales_hold_all_values_and_survive_none_and_one() -> None:
    scale = scale_for([0.1, float("nan"), 0.3], zero=True)
    assert 0 < scale.at(0) < scale.at(0.1) < scale.at(0.3) < 100
    assert scale_for([]).at(0) == 50
    assert 0 < scale_for([5.0]).at(5.0) < 100
    assert Scale(1.0, 1.0).at(1.0) == 50


def test_lines_and_bands_go_up_when_values_do() -> None:
    unit = Scale(0, 1)
    assert line([0, 1], [0, 1], unit, unit) == "M0.00 100.00L100.00 0.00"
    assert band([0, 1], [0, 0], [1, 1], unit, unit) == "M0.00 0.00L100.00 0.00L100.00 100.00L0.00 100.00Z"
    assert line([], [], unit, unit) == band([], [], [], unit, unit) == ""


def test_bins_average_and_know_when_they_are_empty() -> None:
    found = binned(np.array([0.0, 1.0, 9.0, 10.0]), np.array([1.0, 3.0, 5.0, 7.0]), np.array([0.0, 5.0, 7.0, 10.0]))
    assert found.tolist()[0] == 2 and found.tolist()[2] == 6
    assert np.isnan(found[1])


def test_shades_follow_what_is_better() -> None:
    assert shade(-1.0, 1.0, True) == "b5" == shade(1.0, 1.0, False)
    assert shade(1.0, 1.0, True) == "w5"
    assert shade(0.01, 1.0, True) == "" == shade(0.0, 0.0, True)
    assert shade(-0.5, 1.0, True) in ("b2", "b3")


def test_more_series_than_colours_share_them_but_never_the_baselines() -> None:
    names = [series(k) for k in range(30)]
    assert names[0] == "c0" and "c0" not in names[1:]
    assert len(set(names)) == 8


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (-0.001, "0.00"), (-1.5, "−1.50"), (1234567.891, "1,234,567.89")],
)
def test_numbers_have_true_minus_signs_and_no_negative_zero(value: float, text: str) -> None:
    assert number(value, 2) == text


def test_units_are_short_and_right() -> None:
    assert [units.short(v) for v in (0, 7, 999, 1000, 400_000, 1_234_567, 2.5e12)] == [
        "0", "7", "999", "1 k", "400 k", "1.23 M", "2.5 T",
    ]  # fmt: skip
    assert [units.size(v) for v in (0, 999, 1500, 909_833)] == ["0 B", "999 B", "1.5 kB", "910 kB"]
    assert [units.seconds(v) for v in (0.04, 9.94, 9.96, 59.4, 61, 3599.6, 7384)] == [
        "0.0 s", "9.9 s", "10 s", "59 s", "1 min 1 s", "1 h 0 min", "2 h 3 min",
    ]  # fmt: skip
    assert [units.share(a, b) for a, b in ((0, 10), (1, 10_000), (1, 3), (9_999, 10_000), (10, 10), (1, 0))] == [
        "0.0%", "<0.1%", "33.3%", ">99.9%", "100%", "–",
    ]  # fmt: skip


@pytest.mark.parametrize("residue", [0.0, 1.1e-16, 3e-8])
def test_rewards_whose_first_round_is_all_alike_are_not_scaled_by_a_residue_of_rounding(residue: float) -> None:
    log = pl.DataFrame({"reward": [0.1, 0.3, 0.5], "reward_deviation": [residue, 0.2, 0.2], "kl": [0.0, 1.0, 2.0]})
    assert rewards._line([log]) == (pytest.approx([0.0, 1.0, 2.0]), pytest.approx([0.0, 0.2, 0.4]))
    spread = log.with_columns(pl.lit(0.2).alias("reward_deviation"))
    assert rewards._line([spread])[1] == pytest.approx([0.0, 1.0, 2.0])
