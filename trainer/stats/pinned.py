"""An effect in two parts: the change of mixture, and the change of the documents within each source.

A filter or dedup changes which sources a model reads and which of their documents. The baseline's documents at the
mix's shares of sources (pipelines.datasets.pinned_mix) lie between the two: baseline -> pinned is the mixture, pinned
-> mix is the documents, and the parts add up to the effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np

from windtunnel.schemas.results import Effect, Parts
from windtunnel.trainer.stats.effects import Options, panel_effects
from windtunnel.trainer.stats.paired import Panel
from windtunnel.trainer.stats.verdicts import holm


def parts_of(scores: Panel, pinned: Mapping[str, str], **options: Unpack[Options]) -> dict[str, Parts]:
    """Return the two parts of the effect of each mix in `pinned`, which names the mix of the baseline's documents.

    Both have intervals of their own; a part is called better or worse only after Holm's correction over all parts.
    """
    pairs = [pair for mix, between in pinned.items() for pair in ((scores.mixes[0], between), (between, mix))]
    effects = _corrected([panel_effects(only(scores, pair), **options)[0] for pair in pairs])
    halves = zip(effects[::2], effects[1::2], strict=True)
    return {mix: Parts(mixture=mixture, documents=rest) for mix, (mixture, rest) in zip(pinned, halves, strict=True)}


def only(scores: Panel, mixes: Sequence[str]) -> Panel:
    """Return the panel of some mixes, of which the first is the baseline."""
    at = np.array([scores.mixes.index(mix) for mix in mixes])
    return replace(scores, mixes=tuple(mixes), values=scores.values[at])


def _corrected(effects: list[Effect]) -> list[Effect]:
    """Return the effects with p values corrected for their number, and without verdicts that do not survive it."""
    alone = [(e.p_holm, e.p_margin if e.p_margin is not None else e.p_holm) for e in effects]
    if any(p is None for pair in alone for p in pair):  # one seed
        return effects
    zero, margin = (holm([pair[k] for pair in alone]) for k in (0, 1))  # type: ignore[misc]
    corrected = []
    for effect, p, beyond in zip(effects, zero, margin, strict=True):
        update = {"p_holm": p, "p_margin": beyond if effect.margin else None}
        if effect.outcome in ("better", "worse") and beyond >= 1 - effect.interval:
            known = effect.margin and p < 1 - effect.interval
            update |= {"verdict": "undecided", "outcome": "direction" if known else "undecided"}
        elif effect.outcome == "direction" and p >= 1 - effect.interval:
            update |= {"outcome": "undecided"}
        corrected.append(effect.model_copy(update=update))
    return corrected
