"""The baseline's documents at the sources of another mix, which splits an effect into mixture and quality.

A filter or dedup that throws a source away changes two things at once: which sources a model reads, and which of their
documents. Trained on this mix, the difference from the baseline is that of the mixture alone, and the difference of the
mix from this one is that of its documents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from windtunnel.pipelines.datasets.mix import Weight, lay_down, shares, sources_of, spread
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.role import Role
from windtunnel.schemas.work import Counts, Work


class PinnedMix(Work):
    """Lay down a mix of the baseline's corpora with another mix's shares of sources.

    Inputs are `tokens:<corpus>` for each of `weights` and `like:<corpus>` for each of `like`. A source of several
    corpora is divided over them as in the baseline. Raises RecipeError where the baseline has no documents of a source,
    or too few.
    """

    weights: dict[str, Weight] = Field(min_length=1)  # of the baseline
    like: dict[str, Weight] = Field(min_length=1)  # of the mix whose shares of sources are taken
    token_budget: int = Field(gt=0)
    max_epochs: float = Field(4.0, gt=0)
    context: int = Field(256, gt=0)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        own = {name: sources_of(inputs[Role("tokens", name)], name) for name in self.weights}
        asked = _by_source(self.like, {name: sources_of(inputs[Role("like", name)], name) for name in self.like})
        there = _by_source(self.weights, own)
        if missing := [source for source, share in asked.items() if share and not there.get(source)]:
            raise RecipeError(
                f"`pin: source` needs documents of every source of the mix in the baseline, which has none of "
                f"{', '.join(map(repr, missing[:5]))}{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}: "
                "leave `pin` out, or compare with a baseline that has them"
            )
        domains, rows = [], []
        for name, weight in shares(self.weights, own).items():
            table = own[name]
            total = int(table["tokens"].sum())
            parts = {
                source: asked.get(source, 0.0) * weight * tokens / total / there[source]
                for source, tokens in table.select("source", "tokens").iter_rows()
                if tokens
            }
            share = math.fsum(parts.values())
            if share <= 0:
                continue
            epochs = [self.token_budget * parts.get(s, 0.0) / max(t, 1) for s, t in zip(*_columns(table), strict=True)]
            self._check_epochs(table, epochs)
            used = table.with_columns(pl.Series("epochs", epochs)).filter(pl.col("epochs") > 0)
            domains.append(self._domain(name, share, used, {source: part / share for source, part in parts.items()}))
            rows.append(spread(name, used, used["epochs"]))
        return lay_down(out, self, domains, rows)

    def _domain(self, name: str, share: float, used: pl.DataFrame, sources: dict[str, float]) -> dict[str, Any]:
        available, documents = int(used["tokens"].sum()), int(used["documents"].sum())
        return {
            "name": name,
            "weight": share,
            "sources": sources,
            "tokens": round(self.token_budget * share),
            "available_tokens": available,
            "available_documents": documents,
            "documents": round((used["documents"] * used["epochs"].clip(upper_bound=1.0)).sum()),
            "epochs": self.token_budget * share / available,
        }

    def _check_epochs(self, table: pl.DataFrame, epochs: list[float]) -> None:
        for source, tokens, times in zip(*_columns(table), epochs, strict=True):
            if times > self.max_epochs * (1 + 1e-9):
                raise RecipeError(
                    f"`pin: source` draws {times:.2f} epochs of the baseline's source {source!r} ({tokens:,} tokens), "
                    f"above the cap of {self.max_epochs:g}: lower the budget to "
                    f"{int(self.token_budget * self.max_epochs / times)}, or leave `pin` out"
                )


def _columns(table: pl.DataFrame) -> tuple[list[str], list[int]]:
    return table["source"].to_list(), table["tokens"].to_list()


def _by_source(weights: Mapping[str, Weight], tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """Return the share of each source in a mix."""
    found: dict[str, float] = {}
    for name, weight in shares(weights, tables).items():
        total = int(tables[name]["tokens"].sum())
        for source, tokens in zip(*_columns(tables[name]), strict=True):
            found[source] = found.get(source, 0.0) + weight * tokens / total
    return found
