"""Gaussian processes on the logarithm of the excess over a floor: predictions bounded below, as losses are.

log(target - floor) is a linear function of the weights, plus one of their square roots (diminishing returns), plus a
smooth one (interactions), each with a Gaussian prior. Floor, noise and the sizes of the parts maximise the marginal
likelihood (Rasmussen and Williams 2006, chapter 5) with the Jacobian of the logarithm and with the priors below; the
common scale of all parts is profiled out. Half of the noise of a logarithm at the median run is the law's own, half
grows as the excess shrinks, as that of a measurement does. Residuals beyond HUBER deviations lose weight.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from windtunnel.trainer.laws._form import Predict

PRIORS = {  # logarithms: mean and standard deviation
    "floor": (0.0, 1.0),  # distance below the smallest target, in ranges of the target
    "noise": (np.log(0.05), 2.0),  # variance, relative to the common scale, as those of the parts
    "linear": (np.log(4.0), 1.5),
    "root": (np.log(3.0), 1.5),
    "smooth": (-1.0, 1.5),
    "length": (np.log(0.7), 0.7),  # of the smooth part
}
REACH = 4.0  # bound on parameters, in standard deviations of the prior
CONSTANT = 10.0  # variance of the level, relative to the common scale
HUBER = 2.5
REWEIGHTED = 2  # rounds
HIGHEST = 60.0  # bound on exponents, which prevents overflow far outside the runs
STEPS = 120
STEPS_AGAIN = 6
SEARCH_AGAIN = 128  # above this number of runs, refits keep the given hyperparameters


@dataclass(frozen=True)
class Excess:
    """A prior: its parts (`linear`, `root`, `smooth`) and the deviation of the log relevance of single domains.

    With `relevance` zero all domains are alike beforehand.
    """

    parts: tuple[str, ...]
    relevance: float = 0.0

    @property
    def names(self) -> list[str]:
        return ["floor", "noise", *self.parts, *(["length"] if "smooth" in self.parts else [])]

    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return the fit to targets [mixes], which may be negative; a constant where all targets are alike."""
        if not np.ptp(target) > 1e-12 * max(1.0, float(np.abs(target).max())):
            return _Constant(float(target.mean()))
        runs = _Runs(weights, target, self.parts, len(self.names))
        mean, deviation = self._prior(weights.shape[1])
        if isinstance(near, Fitted) and len(near.parameters) == len(mean):
            found = near.parameters
            if len(target) <= SEARCH_AGAIN:
                found = _search(runs, found, mean, deviation, STEPS_AGAIN)[1]
            return Fitted.of(runs, found)
        near_floor = mean.copy()
        near_floor[:2] += (-1.0, 2.0)
        starts = [mean, near_floor]
        found = min((_search(runs, start, mean, deviation, STEPS) for start in starts), key=lambda f: f[0])[1]
        for _ in range(REWEIGHTED):
            runs.trust = _trust(runs, found)
            if (runs.trust == 1).all():
                break
            found = _search(runs, found, mean, deviation, STEPS)[1]
        return Fitted.of(runs, found)

    def _prior(self, domains: int) -> tuple[np.ndarray, np.ndarray]:
        shared = np.array([PRIORS[name] for name in self.names])
        own = domains if self.relevance else 0
        return np.append(shared[:, 0], np.zeros(own)), np.append(shared[:, 1], np.full(own, self.relevance))


@dataclass
class _Runs:
    weights: np.ndarray
    target: np.ndarray
    parts: tuple[str, ...]
    shared: int  # number of parameters before the relevances
    trust: np.ndarray = field(init=False)  # in (0, 1], divides the noise's variance

    def __post_init__(self) -> None:
        self.trust = np.ones(len(self.target))
        self.roots = np.sqrt(self.weights)
        self.middle = self.roots.mean(axis=0)
        self.lowest, self.range = float(self.target.min()), float(np.ptp(self.target))
        self.usual = float(np.median(self.target)) - self.lowest

    def excess(self, parameters: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Return the excess of every run over the floor, that of the median run, and the floor's distance."""
        distance = self.range * float(np.exp(parameters[0]))
        return self.target - self.lowest + distance, self.usual + distance, distance

    def noise(self, parameters: np.ndarray) -> np.ndarray:
        excess, usual, _ = self.excess(parameters)
        return (np.exp(parameters[1]) * (1 + np.square(usual / excess)) / 2 + 1e-6) / self.trust


@dataclass(frozen=True)
class _Constant:
    value: float

    def __call__(self, mixes: np.ndarray) -> np.ndarray:
        return np.full(len(mixes), self.value)


@dataclass(frozen=True)
class Fitted:
    """The posterior for given parameters; calling it returns the median of the target for mixes."""

    runs: _Runs
    parameters: np.ndarray
    floor: float
    level: float
    dual: np.ndarray

    @classmethod
    def of(cls, runs: _Runs, parameters: np.ndarray) -> Fitted:
        logs = np.log(runs.excess(parameters)[0])
        lower, level = _lower(runs, parameters), float(logs.mean())
        floor = float(runs.lowest - runs.excess(parameters)[2])
        return cls(runs, parameters, floor, level, cho_solve((lower, True), logs - level))

    def __call__(self, mixes: np.ndarray) -> np.ndarray:
        cross = CONSTANT + sum(_covariances(self.runs, self.parameters, mixes).values())
        return self.floor + np.exp(np.minimum(self.level + cross @ self.dual, HIGHEST))


def _relevance(runs: _Runs, parameters: np.ndarray) -> np.ndarray:
    own = parameters[runs.shared :]
    return np.exp(own) if len(own) else np.ones(runs.weights.shape[1])


def _covariances(runs: _Runs, parameters: np.ndarray, mixes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the covariance of each part between mixes and runs."""
    relevance, sizes = _relevance(runs, parameters), np.exp(parameters[2:])
    roots, parts = np.sqrt(np.maximum(mixes, 0)) * relevance, {}
    for part, size in zip(runs.parts, sizes, strict=False):
        if part == "linear":
            parts[part] = size * (mixes * relevance**2) @ runs.weights.T
        elif part == "root":
            parts[part] = size * (roots - runs.middle * relevance) @ ((runs.roots - runs.middle) * relevance).T
        else:
            distance = cdist(roots, runs.roots * relevance, "sqeuclidean")
            parts[part] = size * np.exp(-distance / (2 * sizes[len(runs.parts)] ** 2))
    return parts


def _lower(runs: _Runs, parameters: np.ndarray) -> np.ndarray:
    covariance = CONSTANT + sum(_covariances(runs, parameters, runs.weights).values())
    return cholesky(covariance + np.diag(runs.noise(parameters)), lower=True, check_finite=False)


def _trust(runs: _Runs, parameters: np.ndarray) -> np.ndarray:
    """Return the Huber weights of the leave-one-out residuals."""
    logs = np.log(runs.excess(parameters)[0])
    inverse = cho_solve((_lower(runs, parameters), True), np.eye(len(logs)))
    residual = np.abs(inverse @ (logs - logs.mean())) / np.sqrt(np.diag(inverse))
    usual = float(np.median(residual)) / 0.6745
    return np.minimum(1.0, HUBER * usual / np.maximum(residual, 1e-12))


def _search(
    runs: _Runs, start: np.ndarray, mean: np.ndarray, deviation: np.ndarray, steps: int
) -> tuple[float, np.ndarray]:
    """Return (cost, parameters) of the local optimum found from a start."""
    result = minimize(
        lambda parameters: _cost(runs, parameters, mean, deviation),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(mean - REACH * deviation, mean + REACH * deviation, strict=True)),
        options={"maxiter": steps},
    )
    return float(result.fun), result.x


def _cost(runs: _Runs, parameters: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the negative log posterior of the parameters up to a constant, and its gradient."""
    excess, usual, distance = runs.excess(parameters)
    logs, parts = np.log(excess), _covariances(runs, parameters, runs.weights)
    noise = runs.noise(parameters)
    lower = cholesky(CONSTANT + sum(parts.values()) + np.diag(noise), lower=True, check_finite=False)
    dual = cho_solve((lower, True), logs - logs.mean(), check_finite=False)
    n, scale = len(logs), float((logs - logs.mean()) @ dual)
    away = (parameters - mean) / deviation
    value = n / 2 * np.log(scale) + np.log(np.diag(lower)).sum() + logs.sum() + 0.5 * float(away @ away)
    # derivative with respect to the covariance, then the chain rule for each parameter
    slope = 0.5 * (cho_solve((lower, True), np.eye(n), check_finite=False) - n / scale * np.outer(dual, dual))
    by_floor = distance / excess
    by_noise = np.exp(parameters[1]) * usual * distance * (excess - usual) / excess**3 / runs.trust
    gradient = away / deviation
    gradient[0] += n / scale * float(dual @ (by_floor - by_floor.mean())) + by_floor.sum() + np.diag(slope) @ by_noise
    gradient[1] += np.diag(slope) @ (noise - 1e-6 / runs.trust)
    for i, part in enumerate(runs.parts):
        gradient[2 + i] += float((slope * parts[part]).sum())
    _add_relevance(runs, parameters, slope, parts, gradient)
    return float(value), gradient


def _add_relevance(
    runs: _Runs, parameters: np.ndarray, slope: np.ndarray, parts: dict[str, np.ndarray], gradient: np.ndarray
) -> None:
    """Add the derivatives by the length of the smooth part and by the relevance of every domain."""
    relevance, sizes = _relevance(runs, parameters) ** 2, np.exp(parameters[2:])
    by_domain = np.zeros(len(relevance))
    if "linear" in parts:
        size = sizes[runs.parts.index("linear")]
        by_domain += 2 * size * relevance * ((slope @ runs.weights) * runs.weights).sum(axis=0)
    if "root" in parts:
        size, roots = sizes[runs.parts.index("root")], runs.roots - runs.middle
        by_domain += 2 * size * relevance * ((slope @ roots) * roots).sum(axis=0)
    if "smooth" in parts:
        among = slope * parts["smooth"] / sizes[len(runs.parts)] ** 2
        # sum over pairs of among * (squared difference of roots), by domain
        pairs = 2 * (among.sum(axis=1) @ runs.roots**2 - ((among @ runs.roots) * runs.roots).sum(axis=0))
        gradient[2 + len(runs.parts)] += float(pairs @ relevance)
        by_domain -= relevance * pairs
    if len(parameters) > runs.shared:
        gradient[runs.shared :] += by_domain
