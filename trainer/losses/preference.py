"""Preference losses as functions of log-ratios, log-likelihoods or rewards, one value per pair, in nats.

`chosen` and `rejected` are log pi(y|x) - log pi_ref(y|x), summed over the answer's tokens. Recipes select a loss on
log-ratios by its key in `LOSSES`. Losses that sort or average over a batch (AOT, BCO's running shift) are not here:
they would depend on how a step is cut into micro-batches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F

DISCOPOP_TAU = 0.05  # temperature of the blend of both losses, as in the paper


class Pairs(NamedTuple):
    """Log-ratios of a batch of pairs and the answers' lengths in tokens, all [pairs]."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor

    @property
    def margin(self) -> torch.Tensor:
        return self.chosen - self.rejected

    @property
    def swapped(self) -> Pairs:
        return Pairs(self.rejected, self.chosen, self.rejected_tokens, self.chosen_tokens)

    @property
    def per_token(self) -> Pairs:
        """The pairs with the mean log-ratio of each answer's tokens in place of the sum."""
        return self._replace(chosen=self.chosen / self.chosen_tokens, rejected=self.rejected / self.rejected_tokens)


Loss = Callable[[Pairs, float, float], torch.Tensor]  # pairs, beta, label smoothing


def _smoothed(loss: Callable[[Pairs, float], torch.Tensor]) -> Loss:
    """Return the loss expected if labels are flipped with probability `smoothing` (cDPO, Mitchell 2023)."""

    @functools.wraps(loss)
    def mixed(pairs: Pairs, beta: float, smoothing: float) -> torch.Tensor:
        value = loss(pairs, beta)
        return value if smoothing == 0 else (1 - smoothing) * value + smoothing * loss(pairs.swapped, beta)

    return mixed


@_smoothed
def sigmoid(pairs: Pairs, beta: float) -> torch.Tensor:
    """DPO (Rafailov et al. 2023)."""
    return -F.logsigmoid(beta * pairs.margin)


def robust(pairs: Pairs, beta: float, smoothing: float) -> torch.Tensor:
    """The unbiased loss under label noise (rDPO, Chowdhury et al. 2024); requires smoothing below one half."""
    scaled = beta * pairs.margin
    kept, flipped = (1 - smoothing) * F.logsigmoid(scaled), smoothing * F.logsigmoid(-scaled)
    return -(kept - flipped) / (1 - 2 * smoothing)


@_smoothed
def hinge(pairs: Pairs, beta: float) -> torch.Tensor:
    """SLiC's hinge on the scaled margin (Zhao et al. 2023, as normalised by Liu et al. 2024)."""
    return torch.relu(1 - beta * pairs.margin)


@_smoothed
def ipo(pairs: Pairs, beta: float) -> torch.Tensor:
    """IPO (Azar et al. 2023, eq. 17, with beta as tau) on log-ratios per token, as in the authors' experiments."""
    return (pairs.per_token.margin - 1 / (2 * beta)) ** 2


def exo_pair(pairs: Pairs, beta: float, smoothing: float) -> torch.Tensor:
    """EXO (Ji et al. 2024, eq. 16): KL from the model's preference to (1 - smoothing, smoothing), which is above 0."""
    scaled = beta * pairs.margin
    wanted = torch.tensor([1 - smoothing, smoothing], dtype=scaled.dtype, device=scaled.device).log()
    found = F.logsigmoid(torch.stack([scaled, -scaled], -1))
    return (found.exp() * (found - wanted)).sum(-1)


@_smoothed
def nca_pair(pairs: Pairs, beta: float) -> torch.Tensor:
    """NCA for pairs (Chen et al. 2024): classifies each answer against noise, so that chosen ones stay likely."""
    chosen, rejected = beta * pairs.chosen, beta * pairs.rejected
    return -F.logsigmoid(chosen) - 0.5 * (F.logsigmoid(-chosen) + F.logsigmoid(-rejected))


@_smoothed
def apo_zero(pairs: Pairs, beta: float) -> torch.Tensor:
    """APO-zero (D'Oosterlinck et al. 2024, eq. 7), for chosen answers better than those of the initial model."""
    return 1 - torch.sigmoid(beta * pairs.chosen) + torch.sigmoid(beta * pairs.rejected)


@_smoothed
def apo_down(pairs: Pairs, beta: float) -> torch.Tensor:
    """APO-down (D'Oosterlinck et al. 2024, eq. 8), for chosen answers worse than those of the initial model."""
    return torch.sigmoid(beta * pairs.chosen) + 1 - torch.sigmoid(beta * pairs.margin)


@_smoothed
def sppo_hard(pairs: Pairs, beta: float) -> torch.Tensor:
    """SPPO (Wu et al. 2024, eq. 4.7) with the win probabilities 1 and 0."""
    return (pairs.chosen - 0.5 / beta) ** 2 + (pairs.rejected + 0.5 / beta) ** 2


@_smoothed
def discopop(pairs: Pairs, beta: float) -> torch.Tensor:
    """DiscoPOP (Lu et al. 2024, eq. 5): a blend of logistic and exponential loss."""
    scaled = beta * pairs.margin
    share = torch.sigmoid(scaled / DISCOPOP_TAU)
    return -F.logsigmoid(scaled) * (1 - share) + torch.exp(-scaled) * share


LOSSES: dict[str, Loss] = {
    each.__name__: each  # type: ignore[attr-defined]
    for each in (sigmoid, robust, hinge, ipo, exo_pair, nca_pair, apo_zero, apo_down, sppo_hard, discopop)
}


def orpo(chosen: torch.Tensor, rejected: torch.Tensor, weight: float) -> torch.Tensor:
    """ORPO (Hong et al. 2024, eq. 6) on log-likelihoods per token: the chosen answer's, and the odds ratio."""
    log_odds = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
    return -chosen - weight * F.logsigmoid(log_odds)


def simpo(pairs: Pairs, beta: float, gamma: float) -> torch.Tensor:
    """SimPO (Meng et al. 2024, eq. 6): `pairs` hold summed log-likelihoods; `gamma` is the target margin in nats."""
    return -F.logsigmoid(beta * pairs.per_token.margin - gamma)


def kto(ratios: torch.Tensor, desirable: torch.Tensor, kl: torch.Tensor, beta: float) -> torch.Tensor:
    """KTO (Ethayarajh et al. 2024, eq. 8) without its weights, per answer: one minus the value of a gain or a loss.

    `ratios` [n] are log-ratios of answers, `desirable` bool [n] what is thought of them, `kl` the reference point.
    """
    gains = beta * (ratios - kl.detach())
    return 1 - torch.sigmoid(torch.where(desirable, gains, -gains))


def reward_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor | float = 0.0, centering: float = 0.0
) -> torch.Tensor:
    """Bradley-Terry with a margin (Touvron et al. 2023) and centring of the sum (Eisenstein et al. 2023)."""
    return -F.logsigmoid(chosen - rejected - margin) + centering * (chosen + rejected) ** 2


def pair_metrics(rewards: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what the log says of pairs, summed over them: `rewards` [pairs, 2] are those of (chosen, rejected)."""
    chosen, rejected = rewards.detach().unbind(1)
    margins = chosen - rejected
    sums = {"margin": margins, "reward_chosen": chosen, "reward_rejected": rejected}
    return {"accuracy": (margins > 0).sum(), **{name: values.sum() for name, values in sums.items()}}


def _log1mexp(values: torch.Tensor) -> torch.Tensor:
    """Return log(1 - exp(x)) for x < 0 without cancellation (Mächler 2012); x = 0 counts as the float below it."""
    values = values.clamp(max=-torch.finfo(values.dtype).tiny)
    near = values > -0.6931472
    # the branch that is not taken gets a harmless value: its gradient, multiplied by 0, must not be infinite
    small, large = torch.where(near, values, -0.5), torch.where(near, -1.0, values)
    return torch.where(near, torch.log(-torch.expm1(small)), torch.log1p(-torch.exp(large)))
