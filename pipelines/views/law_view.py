"""The output of `windtunnel law`: error of every form, predictions, and a proposed mix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from windtunnel.pipelines.views.console import terminal
from windtunnel.pipelines.views.plain_table import plain_table
from windtunnel.schemas.artifact import writing
from windtunnel.schemas.errors import RecipeError

if TYPE_CHECKING:
    from windtunnel.trainer.stats.law import Law
    from windtunnel.trainer.stats.proposal import Supply


def print_law(law: Law, proposing: bool, supply: Supply | None, as_json: bool, console: Console) -> None:
    """Print the errors of a law's forms and, when `proposing`, the mix to run next within a supply."""
    from windtunnel.trainer.stats.law import contract
    from windtunnel.trainer.stats.proposal import propose

    proposal = propose(law, supply) if proposing else None
    if as_json:
        console.print(json.dumps(contract(law, proposal), indent=1), soft_wrap=True)
        return
    console.print(_forms(law))
    console.print(
        f"Predictions are those of {law.best.form}. Its 95 % intervals held about 95 % of new runs in simulations and "
        "tables, of mixes like those that were run; 90 % is guaranteed for such mixes, and nothing far from them.",
        soft_wrap=True,
    )
    if law.content:
        console.print(f"Coordinates: {law.content}.", markup=False, soft_wrap=True)
    if law.caution:
        console.print(f"Caution: {law.caution}.")
    if proposal:
        console.print(_proposal(law, proposal))


def limits(proposing: bool, tokens: str | None, budget: float | None, epochs: float) -> Supply | None:
    """Return the supply of text given by the options; None when they give none."""
    from windtunnel.trainer.stats.proposal import Supply

    if tokens is None and budget is None:
        return None
    if not proposing:
        raise RecipeError("--tokens and --budget say what a proposal may use: add --propose")
    if tokens is None or budget is None:
        raise RecipeError("a cap on epochs needs both --tokens domain=N,... and --budget N")
    supply: dict[str, float] = {}
    for part in tokens.split(","):
        name, _, number = part.partition("=")
        try:
            supply[name.strip()] = float(number)
        except ValueError:
            raise RecipeError(f"--tokens {part!r} is not of the form domain=N") from None
    return Supply(supply, budget, epochs)


def write_predictions(law: Law, mixes: Path | None, out: Path | None) -> None:
    """Write the rows of a table of mixes as CSV, with what the law predicts for each: predicted, low, high.

    Says on stderr when there are too few mixes for low and high.
    """
    from windtunnel.trainer.stats.law import with_predictions
    from windtunnel.trainer.stats.paired import read_table

    if mixes is None or out is None:
        raise RecipeError("--predict MIXES and --out CSV go together")
    predicted = with_predictions(law, read_table(mixes, "mixes"), str(mixes))
    with writing(out) as partial:
        predicted.write_csv(partial)
    if law.no_interval:  # to stderr: with --json the other stream is read by programs
        terminal(stderr=True).print(f"{out}: `low` and `high` are empty, {law.no_interval}")


def _forms(law: Law) -> Table:
    table = plain_table(("form", "error on left-out mixes", "rank correlation", "beyond the runs", "seconds"))
    for fit in law.fits:
        beyond = "" if fit.extrapolation is None else f"{fit.extrapolation:.3f}"
        table.add_row(fit.form, f"{fit.rmse:.4f}", f"{fit.rank_correlation:.3f}", beyond, f"{fit.seconds:.2f}")
    return table


def _hope(proposal: dict[str, Any]) -> str:
    if proposal["predicted"] >= proposal["best_run"]["target"]:
        return "The law expects no gain over that mix: more runs, of other mixes, would say more than this one."
    return "Whether it is better, only runs of both with fresh seeds can tell."


def _proposal(law: Law, proposal: dict[str, Any]) -> Table:
    best, epochs = proposal["best_run"], proposal.get("epochs")
    table = plain_table(("domain", "proposed", "best run", *(["epochs"] if epochs else [])), title_justify="left")
    spread = law.no_interval or ""
    if proposal["low"] is not None:
        spread = f"95 % interval {proposal['low']:.4f} to {proposal['high']:.4f}"
    table.title = (
        f"proposed to run next, not confirmed: expected {proposal['predicted']:.4f} ({spread}), corrected for being "
        f"chosen among many; the best mix that was run measured {best['target']:.4f}. {_hope(proposal)}"
    )
    columns = (proposal["weights"], best["weights"])
    for name in dict.fromkeys(name for weights in columns for name in weights):  # with coordinates, they may differ
        row = [name, *(f"{weights[name]:.3f}" if name in weights else "" for weights in columns)]
        table.add_row(*row, *([f"{epochs[name]:.2f}" if name in epochs else ""] if epochs else []))
    return table
