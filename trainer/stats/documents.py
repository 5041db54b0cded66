"""The error that comes from the sampling of held-out documents: its variance and its degrees of freedom.

trainer.stats.intervals adds it to the error over seeds. An effect is a ratio of sums, within each stratum
R = sum(y) / sum(w), and the strata count by their weight. The sampling units are documents, or groups of documents of
one origin, within each source; with CLUSTERS_FROM sources or more, whole sources are the units, because documents of
one site or book are dependent; the spread between fewer sources cannot be estimated well.

The variance is that of the linearised ratio (delta method): a unit with the share g = w / sum(w) of its stratum has
the residual e = y - R w, and its square is divided by 1 - 2 g + sum(g^2), without which the estimate is too small if a
few units hold most of the weight. For equal weights this is the factor n / (n - 1); in general it makes the estimate
unbiased for units of equal variance (CR2 of Bell and McCaffrey, 2002). A bootstrap over documents gives the same
without this correction and with Monte Carlo noise (Rao and Wu, 1988).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from windtunnel.schemas.results import CLUSTERS_FROM
from windtunnel.trainer.stats.paired import Panel

# Where one unit holds most of a stratum, it moves the estimate and its error together, so that their quotient has
# lighter tails than t with as few degrees as the effective number of units says (simulated: 99 % for 95 %).
FEWEST = 3


@dataclass(frozen=True)
class Units:
    """Sampling units in their strata: `weights` (..., documents), `unit` and `stratum` (documents,), numbered from 0.

    A stratum is a set of units; every unit lies in one stratum. Leading axes of `weights` are tables of one layout.
    """

    weights: np.ndarray
    unit: np.ndarray
    stratum: np.ndarray

    @cached_property
    def _order(self) -> np.ndarray:
        return np.lexsort((self.unit, self.stratum))

    @cached_property
    def _starts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where units begin among the sorted documents, and strata among the units."""
        unit, stratum = self.unit[self._order], self.stratum[self._order]
        first = np.flatnonzero(np.r_[True, (unit[1:] != unit[:-1]) | (stratum[1:] != stratum[:-1])])
        return first, np.flatnonzero(np.r_[True, np.diff(stratum[first]) != 0])

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of (..., documents) over each unit, (..., units), ordered by stratum."""
        first, _ = self._starts
        ordered = values[..., self._order]
        return ordered if len(first) == ordered.shape[-1] else np.add.reduceat(ordered, first, axis=-1)

    def of_stratum(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of (..., units) over each stratum, (..., strata)."""
        return np.add.reduceat(values, self._starts[1], axis=-1)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return (..., strata) repeated for each unit, (..., units)."""
        units = len(self._starts[0])
        return np.repeat(values, np.diff(np.r_[self._starts[1], units]), axis=-1)

    @property
    def count(self) -> int:
        return len(self._starts[0])

    @cached_property
    def _shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights of the units, and sum(g^2) of each stratum."""
        weights = self.sums(self.weights)
        of_stratum = self.of_stratum(weights)
        return weights, self.of_stratum(np.square(weights)) / np.square(of_stratum)

    @cached_property
    def kish(self) -> np.ndarray:
        """Return the effective number of units over all strata, (sum w)^2 / sum w^2 (Kish, 1965)."""
        weights = self._shares[0]
        return weights.sum(axis=-1) ** 2 / np.square(weights).sum(axis=-1)

    @cached_property
    def degrees(self) -> np.ndarray:
        """Return the degrees of freedom of the variance; 0 if no stratum has two units.

        A stratum has its effective number of units less one, but at least FEWEST where it has more units; strata are
        combined by Satterthwaite's formula, with the variances that units of equal variance have.
        """
        weights, squares = self._shares
        sizes = np.diff(np.r_[self._starts[1], self.count])
        alone = sizes < 2
        own = np.maximum(1 / squares - 1, np.clip(sizes - 1, 1, FEWEST))
        part = np.where(alone, 0.0, self.of_stratum(np.square(weights)))
        bottom = (part**2 / own).sum(axis=-1)
        whole = part.sum(axis=-1) ** 2
        return np.maximum(1.0, np.divide(whole, bottom, out=np.zeros_like(whole), where=bottom > 0)) * ~alone.all()

    def variances(self, differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the variance from documents of the mean over seeds, and the part of it that is specific to each seed.

        `differences` is (..., seeds, documents), sums and not means, and the results are (...). The rest of the first
        is shared by the seeds, so that the spread over seeds does not show it.
        """
        y, (weights, squares) = self.sums(differences), self._shares
        whole = weights.sum(axis=-1)[..., None, None]
        ratio = self.of_stratum(y) / self.of_stratum(weights)[..., None, :]
        residual = (y - self.spread(ratio) * weights[..., None, :]) / whole
        g = weights / self.spread(self.of_stratum(weights))
        left = 1 - 2 * g + self.spread(squares)
        scale = np.divide(1.0, left, out=np.zeros_like(left), where=left > 1e-12)
        mean = residual.mean(axis=-2)
        both = (np.square(mean) * scale).sum(axis=-1)
        seeds = y.shape[-2]
        if seeds < 2:
            return both, np.zeros_like(both)
        own = (np.square(residual - mean[..., None, :]).sum(axis=-2) * scale).sum(axis=-1)
        return both, own / (seeds * (seeds - 1))


def units_of(panel: Panel, clustered: bool | None = None) -> Units:
    """Return the sampling units of a panel: groups within sources, or whole sources if `clustered`.

    By default, sources are clusters from CLUSTERS_FROM on. A source with a single unit shows no spread of its own:
    such sources make one stratum together, or join the smallest other source if there is only one.
    """
    clustered = len(panel.sources) >= CLUSTERS_FROM if clustered is None else clustered
    if clustered:
        return Units(panel.weights, panel.source.astype(np.int64), np.zeros(len(panel.weights), dtype=np.int64))
    unit, stratum = panel.groups().astype(np.int64), panel.source.astype(np.int64)
    pairs = np.unique(np.stack([stratum, unit]), axis=1)
    sizes = np.bincount(pairs[0], minlength=int(stratum.max()) + 1)
    alone = np.flatnonzero(sizes == 1)
    if len(alone) == 1 and (sizes > 1).any():
        smallest = int(np.where(sizes > 1, sizes, sizes.max() + 1).argmin())
        alone = np.r_[alone, smallest]
    merged = np.where(np.isin(stratum, alone), alone[0] if len(alone) else 0, stratum)
    if len(alone):
        unit = np.unique(np.stack([stratum, unit]), axis=1, return_inverse=True)[1].reshape(-1)
    return Units(panel.weights, unit, merged)
