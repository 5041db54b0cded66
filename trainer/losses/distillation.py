"""Divergences between the distributions of a student and a teacher over the next token, in nats."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def divergence(student: torch.Tensor, teacher: torch.Tensor, beta: float, temperature: float = 1.0) -> torch.Tensor:
    """Return the generalised Jensen-Shannon divergence per position, [positions] (Agarwal et al. 2023, 2306.13649).

    Logits [positions, vocabulary]. `beta` 0 is KL(teacher || student), 1 is KL(student || teacher); between them, it is
    beta KL(teacher || mixture) + (1 - beta) KL(student || mixture), with the teacher's share `beta` in the mixture.
    """
    ours, theirs = ((logits.float() / temperature).log_softmax(-1) for logits in (student, teacher))
    if beta == 0:
        return _kl(theirs, ours)
    if beta == 1:
        return _kl(ours, theirs)
    mixture = torch.logaddexp(ours + math.log1p(-beta), theirs + math.log(beta))
    return beta * _kl(theirs, mixture) + (1 - beta) * _kl(ours, mixture)


def _kl(of: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    return F.kl_div(to, of, reduction="none", log_target=True).sum(-1)
