"""The commands on tables of a user's own runs: effects and law; `windtunnel.pipelines.cli` adds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from windtunnel.pipelines.views.console import terminal
from windtunnel.schemas.errors import RecipeError

Tool = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TOOL",
        help="Whose scores they are: lm_eval (--log_samples), olmes, or items (a row an item, a column a metric).",
    ),
]
Runs = Annotated[
    str,
    typer.Option(metavar="PATTERN|CSV", help="How paths name runs, or a table with the columns dir, mix, seed."),
]
Metrics = Annotated[
    str | None, typer.Option(metavar="NAME,NAME", help="With --from: the metrics to compare, all by default.")
]
Pool = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=PATTERN", help="With --from: tasks that count as one, mmlu='mmlu_*'. May be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def effects(
    scores: Annotated[
        list[Path],
        typer.Argument(
            help="CSV with columns mix, seed, document, bytes, nats, source (optional); with --from, the directories "
            "or files that a tool has written."
        ),
    ],
    baseline: Annotated[str, typer.Option(help="The mix that the others are compared with.")],
    margin: Annotated[
        float | None,
        typer.Option(min=0, help="Difference that does not matter: bits per byte, with --from units of the metric."),
    ] = None,
    looks: Annotated[
        str | None, typer.Option(metavar="N,N", help="Numbers of seeds declared for looks in advance: 3,5,8,12.")
    ] = None,
    spending: Annotated[
        str, typer.Option(help="How the looks share the error: power, obrien_fleming or pocock.")
    ] = "power",
    after: Annotated[
        str | None, typer.Option(metavar="N,N", help="Numbers of seeds of looks taken before, not declared: 3.")
    ] = None,
    from_: Tool = None,
    runs: Runs = "{mix}-seed{seed}",
    metrics: Metrics = None,
    pool: Pool = None,
    json_: Json = False,
) -> None:
    """Measure effects with intervals from per-document scores of your own runs, or from the logs of other tools."""
    from windtunnel.pipelines.recipe.recipe import Compare
    from windtunnel.pipelines.views.tables import print_effects

    words = {"baseline": baseline, "margin": margin or 0.0, "spending": spending}
    settings = Compare.model_validate({**words, "looks": _numbers(looks), "after": _numbers(after)})
    if from_ is not None:
        _print_item_effects(from_, scores, runs, _numbers(metrics), _pools(pool or []), settings, json_)
        return
    if len(scores) != 1 or metrics or pool:
        raise RecipeError(
            "several files, --metrics and --pool need --from lm_eval, olmes or items: it names what wrote them"
        )
    print_effects(scores[0], settings, json_, terminal())


def _print_item_effects(
    tool: str, paths: list[Path], runs: str, metrics: list[str], pools: dict[str, str], settings: Any, as_json: bool
) -> None:
    from windtunnel.pipelines.views.item_tables import print_item_effects
    from windtunnel.trainer.readers._tools import read_scores
    from windtunnel.trainer.stats.item_scores import pooled

    print_item_effects(pooled(read_scores(tool, paths, runs, metrics), pools), settings, as_json, terminal())


def _numbers(value: str | None) -> list[str]:
    """Return the numbers or the names of an option, with commas between them."""
    return [number.strip() for number in value.split(",")] if value else []


def _pools(words: list[str]) -> dict[str, str]:
    """Return the patterns of tasks by the name of the whole."""
    pools = {}
    for word in words:
        name, _, pattern = word.partition("=")
        if not name or not pattern:
            raise RecipeError(f"--pool {word!r}: write NAME=PATTERN, such as mmlu='mmlu_*'")
        pools[name] = pattern
    return pools


def law(
    runs: Annotated[Path, typer.Argument(help="CSV, Parquet or JSON lines: a row a run, its weights and its score.")],
    weights: Annotated[str, typer.Option(help="The columns of the weights: 'weight_*', or names with commas.")],
    target: Annotated[
        str, typer.Option(help="The column to predict, lower is better; several ('bpb_*') mean their mean.")
    ],
    form: Annotated[str, typer.Option(help="auto, or one of `windtunnel list law`.")] = "auto",
    predict: Annotated[Path | None, typer.Option(metavar="MIXES", help="A table of mixes to predict.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the predicted mixes go, as CSV.")] = None,
    propose: Annotated[bool, typer.Option("--propose", help="Search the mix to run next.")] = False,
    tokens: Annotated[str | None, typer.Option(help="Tokens there are, as domain=N with commas between.")] = None,
    budget: Annotated[float | None, typer.Option(min=1, help="Tokens that the proposed mix is for.")] = None,
    max_epochs: Annotated[float, typer.Option(min=0, help="How often text may be repeated in it.")] = 4.0,
    coordinates: Annotated[
        Path | None,
        typer.Option(
            metavar="HIST",
            help="A table of each domain's content: its column `domain`, and its share in each cluster. The law is of "
            "content, and predicts mixes of other domains in the table.",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Learn from your runs what a mix scores that was never trained, and which mix to try next."""
    from windtunnel.pipelines.views.law_view import limits, print_law, write_predictions
    from windtunnel.trainer.stats.law import law_of_file

    supply = limits(propose, tokens, budget, max_epochs)
    fit = law_of_file(runs, weights, target, form, coordinates)
    if predict or out:
        write_predictions(fit, predict, out)
    print_law(fit, propose, supply, json_, terminal())


COMMANDS: dict[str, Callable[..., Any]] = {"effects": effects, "law": law}
