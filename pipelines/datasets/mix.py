"""The mix step: weights over corpora, a token budget, and what that comes to in tokens, documents and epochs.

Nothing is copied: a mix is a plan that training draws by. mix.json holds the domains; realised.parquet what each
domain's sources give. The order of documents depends on a run's seed, so the split of a domain's last, partial epoch
over its sources is its expectation here; every run writes its own exact figures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, field_validator

from windtunnel.schemas.artifact import Artifact, write_text, writing
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.role import Role
from windtunnel.schemas.work import Counts, Work


class Mix(Work):
    """Check and lay down a mix; inputs are `tokens:<corpus>` for each weight."""

    weights: dict[str, float] = Field(min_length=1)  # corpus -> share of the tokens, up to a common factor
    token_budget: int = Field(gt=0)
    max_epochs: float = Field(4.0, gt=0)  # how often any corpus may be repeated
    context: int = Field(256, gt=0)

    @field_validator("weights")
    @classmethod
    def _positive(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight > 0):
                raise ValueError(f"the weight of {name!r} must be above zero, it is {weight}")
        return weights

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        total = math.fsum(self.weights.values())
        domains, rows, stock = [], [], {}
        for name, weight in self.weights.items():
            by_source = _sources(inputs[Role("tokens", name)])
            available = int(by_source["tokens"].sum())
            if available == 0:
                raise InputError(f"corpus {name!r} has no tokens: every document was dropped or is empty")
            stock[name] = available
            share = weight / total
            tokens = self.token_budget * share
            domains.append(
                {
                    "name": name,
                    "weight": share,
                    "tokens": round(tokens),
                    "available_tokens": available,
                    "available_documents": int(by_source["documents"].sum()),
                    "documents": round(int(by_source["documents"].sum()) * min(1.0, tokens / available)),
                    "epochs": tokens / available,
                }
            )
            rows.append(_spread(name, by_source, tokens / available))
        self._check_epochs(domains)
        plan = {
            "domains": domains,
            "token_budget": self.token_budget,
            "max_epochs": self.max_epochs,
            "context": self.context,
        }
        write_text(out / "mix.json", json.dumps(plan, indent=1))
        with writing(out / "realised.parquet") as partial:
            pl.concat(rows).write_parquet(partial)
        documents = sum(domain["available_documents"] for domain in domains)
        return Counts(seen=documents, kept=documents, tokens=self.token_budget)

    def _check_epochs(self, domains: list[dict[str, Any]]) -> None:
        """Raise RecipeError when a domain would be repeated beyond the cap: what there is, and what would do."""
        over = [d for d in domains if d["epochs"] > self.max_epochs * (1 + 1e-9)]
        if not over:
            return
        cap = math.ceil(max(d["epochs"] for d in domains) * 100) / 100
        budget = min(int(d["available_tokens"] * self.max_epochs / d["weight"]) for d in domains)
        lines = [
            f"{d['name']}: {d['available_tokens']:,} tokens there are, {d['tokens']:,} asked for "
            f"({d['epochs']:.2f} epochs, the cap is {self.max_epochs:g})"
            for d in over
        ]
        raise RecipeError(
            f"the token budget of {self.token_budget:,} needs more repeats than max_epochs allows\n  "
            + "\n  ".join(lines)
            + f"\n  either `max_epochs` of {cap:g} or a budget of {budget} tokens would do "
            "(`budget` in a recipe, `token_budget` in Python)"
        )


def _sources(tokens: Artifact) -> pl.DataFrame:
    """Return tokens, bytes and documents by source of a tokens artifact."""
    files = tokens.files("documents")
    if not files:
        raise InputError(f"{tokens.path.name}: there is no sidecar in documents/")
    return (
        pl.scan_parquet(files)
        .group_by("source")
        .agg(pl.col("tokens").sum(), pl.col("bytes").sum(), pl.len().cast(pl.Int64).alias("documents"))
        .sort("source")
        .collect()
    )


def _spread(domain: str, by_source: pl.DataFrame, epochs: float) -> pl.DataFrame:
    return by_source.select(
        pl.lit(domain).alias("domain"),
        "source",
        (pl.col("tokens") * epochs).round().cast(pl.Int64).alias("tokens"),
        (pl.col("bytes") * epochs).round().cast(pl.Int64).alias("bytes"),
        (pl.col("documents") * min(1.0, epochs)).round().cast(pl.Int64).alias("documents"),
        pl.lit(epochs).alias("epochs"),
    )
