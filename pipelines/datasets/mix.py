"""The mix step: weights over corpora, a token budget, and what that comes to in tokens, documents and epochs.

A corpus of weight `tokens` counts by its size: five sources declared so are the mix of one corpus of all five.

Nothing is copied: a mix is a plan that training draws by. mix.json holds the domains; realised.parquet what each
domain's sources give, to rounding: sources are drawn in proportion at every moment. Documents are counted as if read
whole; training reads pieces of more of them. Every run writes its own figures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field, field_validator

from windtunnel.schemas.artifact import Artifact, write_text, writing
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.role import Role
from windtunnel.schemas.work import Counts, Work

MOST_DIGITS = 250  # of powers of sizes; with more they are taken relative to the largest
LEAST = 1e-100  # share of a mix that is none
BY_SIZE = "tokens"  # the weight of a corpus that counts by its size
Weight = float | Literal["tokens"]


class Mix(Work):
    """Check and lay down a mix; inputs are `tokens:<corpus>` for each weight."""

    version: ClassVar[int] = 2
    weights: dict[str, Weight] = Field(min_length=1)  # corpus -> share of the tokens, up to a common factor
    token_budget: int = Field(gt=0)
    max_epochs: float = Field(4.0, gt=0)  # how often any corpus may be repeated
    context: int = Field(256, gt=0)

    @field_validator("weights")
    @classmethod
    def _positive(cls, weights: dict[str, Weight]) -> dict[str, Weight]:
        for name, weight in weights.items():
            if isinstance(weight, float) and not (math.isfinite(weight) and weight > 0):
                raise ValueError(f"the weight of {name!r} must be above zero, it is {weight}")
        if 0 < sum(weight == BY_SIZE for weight in weights.values()) < len(weights):
            raise ValueError(f"a weight of {BY_SIZE!r} beside numbers: give all corpora numbers, or all {BY_SIZE!r}")
        return weights

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        by_source = {name: sources_of(inputs[Role("tokens", name)], name) for name in self.weights}
        weights = shares(self.weights, by_source)
        domains = [domain_of(name, weight, by_source[name], self.token_budget) for name, weight in weights.items()]
        check_epochs(domains, self.token_budget, self.max_epochs)
        rows = [spread(domain["name"], by_source[domain["name"]], domain["epochs"]) for domain in domains]
        return lay_down(out, self, domains, rows)


def domain_of(name: str, share: float, by_source: pl.DataFrame, token_budget: int) -> dict[str, Any]:
    """Return a domain of a mix: what it gives, and what there is."""
    available, tokens = int(by_source["tokens"].sum()), token_budget * share
    documents = int(by_source["documents"].sum())
    return {
        "name": name,
        "weight": share,
        "tokens": round(tokens),
        "available_tokens": available,
        "available_documents": documents,
        "documents": round(documents * min(1.0, tokens / available)),
        "epochs": tokens / available,
    }


def check_epochs(domains: list[dict[str, Any]], token_budget: int, max_epochs: float) -> None:
    """Raise RecipeError when a domain would be repeated beyond the cap: what there is, and what would do."""
    over = [d for d in domains if d["epochs"] > max_epochs * (1 + 1e-9)]
    if not over:
        return
    cap = math.ceil(max(d["epochs"] for d in domains) * 100) / 100
    budget = min(int(d["available_tokens"] * max_epochs / d["weight"]) for d in domains)
    lines = [
        f"{d['name']}: {d['available_tokens']:,} tokens there are, {d['tokens']:,} asked for "
        f"({d['epochs']:.2f} epochs, the cap is {max_epochs:g})"
        for d in over
    ]
    raise RecipeError(
        f"the token budget of {token_budget:,} needs more repeats than max_epochs allows\n  "
        + "\n  ".join(lines)
        + f"\n  either `max_epochs` of {cap:g} or a budget of {budget} tokens would do "
        "(`budget` in a recipe, `token_budget` in Python)"
    )


def sources_of(tokens: Artifact, corpus: str) -> pl.DataFrame:
    """Return tokens, bytes and documents by source of a tokens artifact. Raises InputError if it has no tokens."""
    files = tokens.files("documents")
    if not files:
        raise InputError(f"{tokens.path.name}: there is no sidecar in documents/")
    table = (
        pl.scan_parquet(files)
        .group_by("source")
        .agg(pl.col("tokens").sum(), pl.col("bytes").sum(), pl.len().cast(pl.Int64).alias("documents"))
        .sort("source")
        .collect()
    )
    if not table["tokens"].sum():
        raise InputError(f"corpus {corpus!r} has no tokens: every document was dropped or is empty")
    return table


def shares(
    weights: Mapping[str, Weight], by_source: Mapping[str, pl.DataFrame], alpha: float = 1.0
) -> dict[str, float]:
    """Return the share of each corpus, which sum to one; corpora that count by size have that of tokens**alpha."""
    sizes = {name: float(by_source[name]["tokens"].sum()) for name in weights}
    largest = max(sizes.values()) if alpha * math.log10(max(sizes.values())) > MOST_DIGITS else 1.0
    numbers = {
        name: (sizes[name] / largest) ** alpha if weight == BY_SIZE else float(weight)
        for name, weight in weights.items()
    }
    total = math.fsum(numbers.values())
    if none := [name for name, number in numbers.items() if number < LEAST * total]:
        raise RecipeError(f"an alpha of {alpha:g} leaves nothing of {', '.join(none)}: lower it")
    return {name: number / total for name, number in numbers.items()}


def spread(domain: str, by_source: pl.DataFrame, epochs: float | pl.Series) -> pl.DataFrame:
    """Return what a domain gives by source, from the epochs of all its sources or of each."""
    times = pl.lit(epochs)
    return by_source.select(
        pl.lit(domain).alias("domain"),
        "source",
        (pl.col("tokens") * times).round().cast(pl.Int64).alias("tokens"),
        (pl.col("bytes") * times).round().cast(pl.Int64).alias("bytes"),
        (pl.col("documents") * times.clip(upper_bound=1.0)).round().cast(pl.Int64).alias("documents"),
        times.cast(pl.Float64).alias("epochs"),
    )


def lay_down(out: Path, mix: Any, domains: list[dict[str, Any]], rows: list[pl.DataFrame], **more: Any) -> Counts:
    """Write mix.json and realised.parquet of a work with `token_budget`, `max_epochs` and `context`; return counts.

    `more`: what else mix.json holds.
    """
    plan = {
        "domains": domains,
        **more,
        "token_budget": mix.token_budget,
        "max_epochs": mix.max_epochs,
        "context": mix.context,
    }
    write_text(out / "mix.json", json.dumps(plan, indent=1))
    with writing(out / "realised.parquet") as partial:
        pl.concat(rows).write_parquet(partial)
    documents = sum(domain["available_documents"] for domain in domains)
    return Counts(seen=documents, kept=documents, tokens=mix.token_budget)
