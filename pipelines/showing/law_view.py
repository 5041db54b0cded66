"""What `windtunnel law` prints and writes: how far the law can be trusted, predictions, and a proposal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.table import Table

from schemas.artifact import writing
from schemas.errors import RecipeError

if TYPE_CHECKING:
    from trainer.law import Law
    from trainer.proposal import Supply


def print_law(
    runs: Path,
    of: tuple[str, str, str],
    mixes: tuple[Path | None, Path | None],
    proposed: tuple[bool, str | None, float | None, float],
    as_json: bool,
    console: Console,
) -> None:
    """Fit a law to a table of runs and print it; write the predictions of other mixes; propose a mix.

    `of`: (weight columns, target, form); `mixes`: (mixes to predict, where to write them); `proposed`: (whether to,
    tokens by domain, budget, most epochs).
    """
    from trainer.law import contract, law_of_file
    from trainer.proposal import propose

    if (mixes[0] is None) != (mixes[1] is None):
        raise RecipeError("--predict MIXES and --out CSV go together")
    wanted, tokens, budget, epochs = proposed
    supply = _supply(tokens, budget, epochs)
    if supply and not wanted:
        raise RecipeError("--tokens and --budget say what a proposal may use: add --propose")
    law = law_of_file(runs, *of)
    proposal = propose(law, supply) if wanted else None
    if mixes[0] is not None and mixes[1] is not None:
        _write_predictions(law, mixes[0], mixes[1])
    if as_json:
        console.print(json.dumps(contract(law, proposal), indent=1), soft_wrap=True)
        return
    console.print(_forms(law))
    if proposal:
        console.print(_proposal(law, proposal))
    if mixes[1]:
        console.print(str(mixes[1]))


def _supply(tokens: str | None, budget: float | None, epochs: float) -> Supply | None:
    from trainer.proposal import Supply

    if tokens is None and budget is None:
        return None
    if tokens is None or budget is None:
        raise RecipeError("a cap on epochs needs both --tokens domain=N,... and --budget N")
    found: dict[str, float] = {}
    for part in tokens.split(","):
        name, _, number = part.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            raise RecipeError(f"--tokens {part!r} is not of the form domain=N") from None
        if not 0 < found[name.strip()] < float("inf"):
            raise RecipeError(f"--tokens {part!r}: a number above zero is needed")
    return Supply(found, budget, epochs)


def _write_predictions(law: Law, mixes: Path, out: Path) -> None:
    from trainer.law import columns_of, numbers, scale
    from trainer.paired import read_table

    table = read_table(mixes, "mixes")
    columns = columns_of(table, ",".join(law.domains), mixes)
    predicted = law.predict(scale(numbers(table, columns, mixes), columns))
    made = [
        pl.Series(name, v, nan_to_null=True) for name, v in zip(("predicted", "low", "high"), predicted, strict=True)
    ]
    with writing(out) as partial:
        table.with_columns(made).write_csv(partial)


def _forms(law: Law) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("form", "error on left-out mixes", "rank correlation", "seconds"):
        table.add_column(column, justify="left" if column == "form" else "right")
    for fit in law.fits:
        table.add_row(fit.form, f"{fit.rmse:.4f}", f"{fit.rank_correlation:.3f}", f"{fit.seconds:.2f}")
    return table


def _proposal(law: Law, proposal: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    best, epochs = proposal["best_run"], proposal.get("epochs")
    spread = "too few mixes for an interval"
    if proposal["low"] is not None:
        spread = f"95 % of runs between {proposal['low']:.4f} and {proposal['high']:.4f}"
    table.title = (
        f"proposed: {proposal['predicted']:.4f} ({spread}); the best mix that was run measured {best['target']:.4f}. "
        "Confirm it with fresh seeds."
    )
    for column in ("domain", "proposed", "best run", *(["epochs"] if epochs else [])):
        table.add_column(column, justify="left" if column == "domain" else "right")
    for name in law.domains:
        row = [name, f"{proposal['weights'][name]:.3f}", f"{best['weights'][name]:.3f}"]
        table.add_row(*row, *([f"{epochs[name]:.2f}"] if epochs else []))
    return table
