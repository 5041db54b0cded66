"""What `windtunnel law` prints and writes: how far the law can be trusted, predictions, and a proposal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from windtunnel.schemas.artifact import writing
from windtunnel.schemas.errors import RecipeError

if TYPE_CHECKING:
    from windtunnel.trainer.stats.law import Law
    from windtunnel.trainer.stats.proposal import Supply


def print_law(law: Law, proposing: bool, supply: Supply | None, as_json: bool, console: Console) -> None:
    """Print how far a law can be trusted and, when `proposing`, the mix that it likes best within a supply."""
    from windtunnel.trainer.stats.law import contract
    from windtunnel.trainer.stats.proposal import propose

    proposal = propose(law, supply) if proposing else None
    if as_json:
        console.print(json.dumps(contract(law, proposal), indent=1), soft_wrap=True)
        return
    console.print(_forms(law))
    if proposal:
        console.print(_proposal(law, proposal))


def limits(proposing: bool, tokens: str | None, budget: float | None, epochs: float) -> Supply | None:
    """Return what the options say of the text that there is; None when they say nothing."""
    from windtunnel.trainer.stats.proposal import Supply

    if tokens is None and budget is None:
        return None
    if not proposing:
        raise RecipeError("--tokens and --budget say what a proposal may use: add --propose")
    if tokens is None or budget is None:
        raise RecipeError("a cap on epochs needs both --tokens domain=N,... and --budget N")
    found: dict[str, float] = {}
    for part in tokens.split(","):
        name, _, number = part.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            raise RecipeError(f"--tokens {part!r} is not of the form domain=N") from None
    return Supply(found, budget, epochs)


def write_predictions(law: Law, mixes: Path | None, out: Path | None) -> None:
    """Write the rows of a table of mixes as CSV, with what the law predicts for each: predicted, low, high."""
    from windtunnel.trainer.stats.law import with_predictions
    from windtunnel.trainer.stats.paired import read_table

    if mixes is None or out is None:
        raise RecipeError("--predict MIXES and --out CSV go together")
    predicted = with_predictions(law, read_table(mixes, "mixes"), str(mixes))
    with writing(out) as partial:
        predicted.write_csv(partial)


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
