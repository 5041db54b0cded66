"""Calibration of a judge: its agreement with people, theirs with each other, and its biases.

All shares are over pairs, and a pair with several labels counts once.

- kappa: Cohen's, over a, b and tie; chance agreement from the shares of the judge and of the labels; 0 when chance
  agreement is complete. It is exactly 0 for a constant judge. It comes first: agreement alone flatters a judge that
  gives what most labels are.
- agreement: how often the judge's verdict (a, b or tie) equals a label, averaged over the pair's labels: the expected
  agreement with a random labeller. [low, high] is Wilson's 95 % interval over pairs, which holds for small samples and
  shares near 0 and 1 and is conservative for pairs with several labels. Pairs of one preference row count as one.
- agreement_without_ties: the same over the pairs that the judge decides and some label decides, among these labels;
  null when there are none.
- subsets: agreement, its interval and pairs by `subset` of the pairs; empty where none has one.
- best_of: of rows with several answers on a side: the share of rows in which a right answer beats every wrong one
  (`strict`), and with 1/(t+1) for a right answer that t wrong ones tie with and none beats (`agreement`, with its
  interval; mean over the right answers of a row), and what a fair choice among its answers would get; null without.
- label_mass: mean probability of the labels before it is scaled to 1, over the pairs whose verdict is read from it;
  null where none is. `from_logprobs` is the share of these verdicts.
- human_ceiling: the same among people: how often a label equals another label of the same pair, averaged over all
  choices of two. A judge as good as one more labeller reaches it in expectation. null when no pair has two labels.
- baselines: agreement of the longer answer, of the answer named a, and of a fair coin between a and b (expected).
- swap_consistency: share of pairs with the same verdict in both orders.
- length_preference: share of verdicts for the longer answer, among pairs of unequal length without a tie by the judge;
  null when there are none.
- brier, ece: of the probability that a is better (mean of both orders) against labels a = 1, b = 0, tie = 1/2: the mean
  squared difference, and the mean gap between probability and labels over ten bins of equal width, weighted by pairs
  (expected calibration error; Naeini et al. 2015).
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from windtunnel.generators.judges._judge import Judge, Pair, Verdict, make_judge, no_verdicts
from windtunnel.generators.judges.longest import Longest
from windtunnel.generators.judging.pairs import Pairs, read_pairs
from windtunnel.schemas.plugin import label

log = logging.getLogger(__name__)
CLASSES = ("a", "b", "tie")
VALUE = {"a": 1.0, "b": 0.0, "tie": 0.5}
BINS = 10
Z95 = 1.959963984540054
_NOT_DECIDING = {"completions", "concurrency", "budget", "price", "name"}  # parameters of a judge that asks a model
NAMED = 10  # invalid lines that are written out


@dataclass(frozen=True)
class Bin:
    """Pairs with a probability in one tenth: their number, mean probability and mean label."""

    low: float
    high: float
    pairs: int
    probability: float
    labels: float


@dataclass(frozen=True)
class Calibration:
    """A judge compared with labels: the figures of `--json`, and further results for the report."""

    figures: dict[str, Any]
    bins: list[Bin] = field(repr=False)
    failed: Counter[str]  # pairs without a verdict, by error
    findings: list[str]  # sentences on problems of this judge
    judged: list[tuple[Pair, Verdict]] = field(repr=False)
    name: str  # of the judge
    settings: dict[str, Any] = field(repr=False)  # what decides its verdicts
    unreadable: Counter[str] = field(default_factory=Counter)  # rows of the file that are no pair, by reason


def calibrate(pairs: Sequence[Pair], judge: Judge) -> dict[str, Any]:
    """Return the figures of `--json`, which the module's docstring defines.

    Raises WindtunnelError when the judge gives no verdict at all.
    """
    return examine(pairs, judge).figures


def calibrate_file(path: Path, spec: str | dict[str, Any], say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Return the figures for a file of labelled pairs; pairs left out and problems are passed to `say` as sentences."""
    return examine_file(path, spec, say).figures


def examine_file(path: Path, spec: str | dict[str, Any], say: Callable[[str], None] | None = None) -> Calibration:
    """Compare a judge with the labels of a file; pairs left out and problems are passed to `say` as sentences."""
    say = say or log.warning
    judge = make_judge(spec)
    result = examine_pairs(read_pairs(Path(path)), judge, str(path), say)
    for finding in result.findings:
        say(finding)
    return result


def examine_pairs(read: Pairs, judge: Judge, origin: str, say: Callable[[str], None]) -> Calibration:
    """Compare a judge with the labels of `origin`'s pairs; what is not in the figures is passed to `say`."""
    for line in _left_out(read, origin):
        say(line)
    result = replace(examine(read.good, judge), unreadable=read.reasons)
    if result.failed:
        counts = ", ".join(f"{reason} {count}" for reason, count in result.failed.most_common())
        say(f"{result.failed.total()} of {len(read.good)} pairs have no verdict and are not in the figures: {counts}")
    return result


def examine(pairs: Sequence[Pair], judge: Judge) -> Calibration:
    """Compare a judge with the labels of the pairs, at least one per pair."""
    verdicts = judge.verdicts(pairs)
    both = list(zip(pairs, verdicts, strict=True))
    judged = [(pair, verdict) for pair, verdict in both if verdict.error is None]
    failed = Counter(str(verdict.error) for _, verdict in both if verdict.error is not None)
    if not judged:
        raise no_verdicts(verdicts)
    labels = np.array([_shares(pair) for pair, _ in judged])  # [pairs, classes], rows sum to 1
    winners = np.array([CLASSES.index(v.winner) for _, v in judged])
    probability = np.array([v.probability for _, v in judged])
    agreement = _agreement(labels, winners)
    low, high = wilson(agreement, _units([pair for pair, _ in judged]))
    bins = _bins(probability, labels)
    figures = {
        "kappa": _kappa(labels, winners),
        "agreement": agreement,
        "low": low,
        "high": high,
        "agreement_without_ties": _without_ties(labels, winners),
        "human_ceiling": _ceiling([pair.labels for pair, _ in judged]),
        "baselines": _baselines([pair for pair, _ in judged], labels),
        "swap_consistency": float(np.mean([v.consistent for _, v in judged])),
        "length_preference": _length_preference(judged),
        "brier": _brier(probability, labels),
        "ece": sum(b.pairs * abs(b.probability - b.labels) for b in bins) / len(judged),
        "n": len(judged),
        "subsets": _subsets(judged, labels, winners),
        "best_of": best_of(judged),
        **_masses([verdict for _, verdict in judged]),
    }
    about = judge.model_dump(mode="json", exclude=_NOT_DECIDING) | judge.fingerprint()
    return Calibration(figures, bins, failed, _findings(figures, winners), judged, label(judge), about)


def _shares(pair: Pair) -> list[float]:
    return [pair.labels.count(c) / len(pair.labels) for c in CLASSES]


def _agreement(labels: np.ndarray, winners: np.ndarray) -> float:
    return float(labels[np.arange(len(winners)), winners].mean())


def _units(pairs: Sequence[Pair]) -> int:
    """Return the number of independent rows that the pairs come from."""
    return sum(not pair.row for pair in pairs) + len({pair.row for pair in pairs if pair.row})


def _without_ties(labels: np.ndarray, winners: np.ndarray) -> float | None:
    decided = labels[:, :2].sum(axis=1)
    both = (winners != CLASSES.index("tie")) & (decided > 0)
    if not both.any():
        return None
    return float((labels[both, winners[both]] / decided[both]).mean())


def _subsets(
    judged: Sequence[tuple[Pair, Verdict]], labels: np.ndarray, winners: np.ndarray
) -> dict[str, dict[str, float]]:
    names = np.array([pair.subset for pair, _ in judged], dtype=object)
    found = {}
    for name in sorted(set(names) - {""}):
        inside = names == name
        agreement = _agreement(labels[inside], winners[inside])
        low, high = wilson(agreement, _units([pair for pair, _ in judged if pair.subset == name]))
        found[name] = {"agreement": agreement, "low": low, "high": high, "n": int(inside.sum())}
    return found


def best_of(judged: Sequence[tuple[Pair, Verdict]]) -> dict[str, float] | None:
    """Return how often the right answers of a row beat its wrong ones; None without rows of several answers."""
    rows: dict[str, dict[int, list[str]]] = {}
    for pair, verdict in judged:
        if pair.row:
            outcome = "tie" if verdict.winner == "tie" else "win" if verdict.winner == pair.labels[0] else "loss"
            rows.setdefault(pair.row, {}).setdefault(pair.chosen, []).append(outcome)
    if not rows:
        return None
    credits = [float(np.mean([_credit(outcomes) for outcomes in row.values()])) for row in rows.values()]
    chance = [len(row) / (len(row) + max(map(len, row.values()))) for row in rows.values()]
    agreement = float(np.mean(credits))
    low, high = wilson(agreement, len(rows))
    strict = float(np.mean([credit == 1 for credit in credits]))
    return {
        "agreement": agreement, "low": low, "high": high, "strict": strict, "chance": float(np.mean(chance)),
        "n": len(rows),
    }  # fmt: skip


def _credit(outcomes: Sequence[str]) -> float:
    return 0.0 if "loss" in outcomes else 1 / (1 + outcomes.count("tie"))


def _masses(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    held = [verdict.mass for verdict in verdicts if verdict.mass is not None]
    return {"label_mass": float(np.mean(held)) if held else None, "from_logprobs": len(held) / len(verdicts)}


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927)."""
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _kappa(labels: np.ndarray, winners: np.ndarray) -> float:
    observed = _agreement(labels, winners)
    judge = np.bincount(winners, minlength=len(CLASSES)) / len(winners)
    chance = float(judge @ labels.mean(axis=0))
    return (observed - chance) / (1 - chance) if chance < 1 - 1e-12 else 0.0


def _ceiling(labels: Sequence[Sequence[str]]) -> float | None:
    several = [given for given in labels if len(given) > 1]
    agreed = [sum(n * (n - 1) for n in Counter(g).values()) / (len(g) * (len(g) - 1)) for g in several]
    return float(np.mean(agreed)) if agreed else None


def _baselines(pairs: Sequence[Pair], labels: np.ndarray) -> dict[str, float]:
    longer = np.array([CLASSES.index(v.winner) for v in Longest().verdicts(pairs)])
    return {
        "longest": _agreement(labels, longer),
        "first": float(labels[:, 0].mean()),
        "random": float(labels[:, :2].mean()),
    }


def _length_preference(judged: Sequence[tuple[Pair, Verdict]]) -> float | None:
    longer = [
        (len(p.response_a) > len(p.response_b)) == (v.winner == "a")
        for p, v in judged
        if v.winner != "tie" and len(p.response_a) != len(p.response_b)
    ]
    return float(np.mean(longer)) if longer else None


def _brier(probability: np.ndarray, labels: np.ndarray) -> float:
    values = np.array([VALUE[c] for c in CLASSES])
    return float((labels * (probability[:, None] - values) ** 2).sum(axis=1).mean())


def _bins(probability: np.ndarray, labels: np.ndarray) -> list[Bin]:
    value = labels @ np.array([VALUE[c] for c in CLASSES])
    number = np.minimum((probability * BINS).astype(int), BINS - 1)
    return [
        Bin(k / BINS, (k + 1) / BINS, int(inside.sum()), float(probability[inside].mean()), float(value[inside].mean()))
        for k in range(BINS)
        if (inside := number == k).any()
    ]


def _findings(figures: dict[str, Any], winners: np.ndarray) -> list[str]:
    """Return the problems of this judge."""
    findings = []
    if len(winners) > 1 and len(set(winners.tolist())) == 1:
        says = CLASSES[int(winners[0])]
        findings.append(f"the judge gives the same verdict ({says}) on every pair: it does not depend on the answers")
    if figures["swap_consistency"] < 0.5:
        share = 1 - figures["swap_consistency"]
        findings.append(
            f"{share:.0%} of the verdicts change when the answers change places: the judge goes by position"
        )
    name, best = max(figures["baselines"].items(), key=lambda item: item[1])
    if figures["low"] <= best:
        findings.append(
            f"agreement {figures['agreement']:.3f} [{figures['low']:.3f}, {figures['high']:.3f}] is not "
            f"clearly above the baseline {name!r} ({best:.3f})"
        )
    return findings


def _left_out(read: Pairs, origin: str) -> list[str]:
    """Return a line for each of the first invalid lines of the file, and one for the totals."""
    lines = [f"{origin}, line {bad.line}: {bad.reason}: {bad.detail}" for bad in read.bad[:NAMED]]
    if read.bad:
        counts = ", ".join(f"{reason} {count}" for reason, count in read.reasons.most_common())
        lines.append(f"{len(read.bad)} of {len(read.bad) + len(read.good)} lines are left out: {counts}")
    return lines
