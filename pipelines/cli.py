"""The `windtunnel` command: typer commands that hold no logic of their own."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from windtunnel.pipelines import cli_evaluate, cli_files, cli_out, cli_parts, cli_statistics, cli_tune
from windtunnel.pipelines.engine.tasks.memory_limit import START_BYTES, check_memory_limit
from windtunnel.pipelines.views.console import terminal
from windtunnel.schemas.errors import RecipeError, WindtunnelError, advice_for, value_message
from windtunnel.schemas.interrupts import raised_once

INTERRUPTED = 130  # exit code

app = typer.Typer(
    help="A wind tunnel for training data: from raw text to a measured answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
judge_app = typer.Typer(help="Judges and how far to trust them.", no_args_is_help=True)
app.add_typer(judge_app, name="judge")
for _name, _command in {
    **cli_parts.COMMANDS,
    **cli_files.COMMANDS,
    **cli_statistics.COMMANDS,
    **cli_evaluate.COMMANDS,
    **cli_out.COMMANDS,
    **cli_tune.COMMANDS,
}.items():
    app.command(_name)(_command)

RecipeArg = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe.")]
Executor = Annotated[str, typer.Option(help="Where tasks run: local, inline (in this process), ray or slurm.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Tasks at once; the number of cores by default.")]
ExecutorOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--executor-option", metavar="KEY=VALUE", help="An option of the executor, e.g. partition=cpu; may be repeated."
    ),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Fail, instead of waiting, when another run holds the store.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def main() -> None:
    """Run the command line; errors for people go to standard error with exit code 1 or 2, signals have 128 and more."""
    with raised_once() as ending:
        try:
            check_memory_limit(START_BYTES)
            code = app(standalone_mode=False)  # the code of a typer.Exit; None where the command returned
            if code == INTERRUPTED:
                raise KeyboardInterrupt  # typer makes an exit code of it
        except (typer.Abort, KeyboardInterrupt):
            ending.tell()
        except SystemExit:
            raise
        except BaseException as error:  # a panic of polars is no Exception
            if ending.signal is None:
                _explain(error)
                terminal(stderr=True).print(traceback.format_exc())  # its message may be text from data
                sys.exit(1)
            ending.tell()  # what it left behind: workers that had the signal too
        else:
            if ending.signal is None:
                if code:
                    sys.exit(code)
                return
        sys.exit(ending.code)


def _explain(error: BaseException) -> None:
    """End with a message for people where there is one; otherwise the error is unexpected and needs its traceback."""
    if isinstance(error, WindtunnelError):
        _fail(str(error), error.exit_code)
    if advice := advice_for(error):  # where no worker could say it, and outside the workers
        _fail(advice, 1)
    if shown := getattr(error, "format_message", None):  # click's usage errors
        _fail(shown(), 2)
    _fail_on_value(error)


def _fail_on_value(error: BaseException) -> None:
    """End with exit code 2 if a value was refused that no check of the recipe or the arguments had caught."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        _fail(value_message(error), 2)


def _fail(message: str, code: int) -> None:
    terminal(stderr=True).print(f"error: {message}")
    sys.exit(code)


def _run(
    recipe: str,
    sets: list[str] | None,
    until: str | None,
    executor: str,
    workers: int | None,
    no_wait: bool,
    options: list[str] | None = None,
    verify: bool = False,
) -> Any:
    from windtunnel.pipelines.run_recipe import run_recipe

    return run_recipe(recipe, sets or [], until, executor, workers, not no_wait, terminal(), options or [], verify)


@app.command()
def run(
    recipe: RecipeArg,
    set_: Sets = None,
    until: Annotated[
        str | None, typer.Option(metavar="STEP", help="Stop after this step, e.g. decide:filtered.")
    ] = None,
    executor: Executor = "local",
    workers: Workers = None,
    no_wait: NoWait = False,
    executor_option: ExecutorOptions = None,
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="Add seeds look by look, until every effect is decided.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all that is stored, and do damaged steps again, needed or not.")
    ] = False,
) -> None:
    """Run a recipe to its answer; what is finished is not done again."""
    if not until_decided:
        _run(recipe, set_, until, executor, workers, no_wait, executor_option, verify)
        return
    if until is not None:
        raise RecipeError("--until and --until-decided exclude each other")
    from windtunnel.pipelines.run_until_decided import run_until_decided

    def once(sets: list[str]) -> Any:
        return _run(recipe, sets, None, executor, workers, no_wait, executor_option, verify)

    run_until_decided(recipe, set_ or [], once, terminal())


@app.command()
def plan(recipe: RecipeArg, set_: Sets = None, json_: Json = False) -> None:
    """Show the steps, what is cached, sizes and the estimated cost; runs nothing."""
    from windtunnel.pipelines.views.preview import preview

    preview(recipe, set_ or [], json_, terminal())


@app.command()
def watch(recipe: RecipeArg, set_: Sets = None, json_: Json = False) -> None:
    """Follow the training runs of a recipe live, from any terminal, until all are finished; --json prints one look."""
    from windtunnel.pipelines.views.watch import watch as follow

    raise typer.Exit(follow(recipe, set_ or [], json_, terminal()))


@app.command("verify")
def verify_(recipe: RecipeArg, set_: Sets = None, json_: Json = False) -> None:
    """Hold everything that a recipe has stored against its digests; exit code 1 where a file is damaged."""
    from windtunnel.pipelines.views.verification import verify

    raise typer.Exit(verify(recipe, set_ or [], json_, terminal()))


@app.command()
def corpus(
    recipe: RecipeArg,
    name: Annotated[str | None, typer.Argument(help="One corpus; all by default.")] = None,
    set_: Sets = None,
    executor: Executor = "local",
    workers: Workers = None,
    no_wait: NoWait = False,
    executor_option: ExecutorOptions = None,
) -> None:
    """Build the corpora of a recipe, or one of them."""
    _run(recipe, set_, f"corpus:{name}" if name else "corpus", executor, workers, no_wait, executor_option)


@app.command()
def generate(
    recipe: RecipeArg,
    name: Annotated[str | None, typer.Argument(help="One generated set; all by default.")] = None,
    set_: Sets = None,
    executor: Executor = "local",
    workers: Workers = None,
    no_wait: NoWait = False,
    executor_option: ExecutorOptions = None,
) -> None:
    """Make the generated sets of a recipe, or one of them, and what that needs."""
    _run(recipe, set_, f"generate:{name}" if name else "generate", executor, workers, no_wait, executor_option)


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="A model directory, or the name of a sample model.")],
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="A free one by default.")] = None,
    context: Annotated[
        int | None, typer.Option(min=8, help="Longest sequence in tokens; the model's own by default.")
    ] = None,
) -> None:
    """Serve a model on this machine with vLLM until interrupted."""
    from windtunnel.pipelines.serve import serve_model

    serve_model(model, port, context, terminal())


@app.command()
def train(
    recipe: RecipeArg,
    name: Annotated[str | None, typer.Argument(help="One mix; all by default.")] = None,
    set_: Sets = None,
    executor: Executor = "local",
    workers: Workers = None,
    no_wait: NoWait = False,
    executor_option: ExecutorOptions = None,
) -> None:
    """Train the models of a recipe, or those of one mix, and what that needs."""
    _run(recipe, set_, f"train:{name}" if name else "train", executor, workers, no_wait, executor_option)


@app.command()
def compare(
    recipe: RecipeArg,
    set_: Sets = None,
    workers: Workers = None,
    no_wait: NoWait = False,
    json_: Json = False,
    models: Annotated[
        bool, typer.Option("--models", help="Only the trainings side by side, with `variants:`.")
    ] = False,
) -> None:
    """Print the effects of a recipe's mixes with their intervals, and what they were measured on."""
    from windtunnel.pipelines.run_recipe import compared

    compared(recipe, set_ or [], workers, not no_wait, json_, terminal(), models)


@app.command()
def report(recipe: RecipeArg, set_: Sets = None, workers: Workers = None, no_wait: NoWait = False) -> None:
    """Write the recipe's report, one self-contained HTML file, and print its path."""
    _run(recipe, set_, "report", "local", workers, no_wait)


@app.command()
def show(
    path: Annotated[str, typer.Argument(help="A Parquet or JSONL file, an artifact, or a directory of such files.")],
    number: Annotated[int, typer.Option("-n", min=1, help="Rows to show.")] = 5,
    dropped: Annotated[str | None, typer.Option(metavar="RULE", help="Show documents that this rule dropped.")] = None,
    cluster: Annotated[int | None, typer.Option(metavar="ID", help="Show the members of a duplicate cluster.")] = None,
) -> None:
    """Show rows of an artifact, the documents a rule dropped, or a duplicate cluster."""
    from windtunnel.pipelines.views.show import show as show_rows

    show_rows(path, number, dropped, cluster, terminal())


@app.command()
def diff(a: str, b: str, out: Annotated[Path | None, typer.Option(metavar="DIR")] = None, json_: Json = False) -> None:
    """Tell two corpora of a store apart: what went and came, by rule and source; --out keeps the tables as Parquet."""
    import windtunnel.pipelines.views.difference_view as view

    view.print_difference(a, b, out, json_, terminal())


@app.command()
def why(recipe: RecipeArg, document: Annotated[str, typer.Argument(metavar="DOCUMENT_ID")], set_: Sets = None) -> None:
    """Tell what became of a document or a row in every corpus or set of a recipe, with the values that decided."""
    from windtunnel.pipelines.views.why import tell

    tell(recipe, set_ or [], document, terminal())


@judge_app.command()
def calibrate(
    pairs: Annotated[Path, typer.Argument(help="Labelled pairs, or preference rows: JSONL, Parquet.")],
    judge: Annotated[str, typer.Option(help="longest, first, random, recorded, openai:MODEL@URL or reward:DIR.")],
    card: Annotated[Path | None, typer.Option(help="Also write the judge's card, in Markdown.")] = None,
    json_: Json = False,
) -> None:
    """Hold a judge against people's labels and against trivial baselines."""
    from windtunnel.pipelines.views.tables import print_calibration

    print_calibration(pairs, judge, json_, terminal(), card)


@app.command()
def samples(name: Annotated[str | None, typer.Argument(help="Fetch this set now.")] = None) -> None:
    """List the sample texts and models with licence and origin, or fetch one."""
    from windtunnel.pipelines.views.listing import print_samples

    print_samples(name, terminal())


@app.command()
def card(
    recipe: RecipeArg,
    set_: Sets = None,
    out: Annotated[Path | None, typer.Option(help="Write them here too, as NAME.md.")] = None,
) -> None:
    """Write a card in the hub's format for every corpus, set of rows and model of a recipe, beside its files."""
    from windtunnel.pipelines.views.cards import write_cards

    for path in write_cards(recipe, set_ or [], out, terminal(stderr=True).print):
        terminal().print(str(path))


@app.command()
def doctor(
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the kernels now, not in the first run.")] = False,
) -> None:
    """Check this machine: Python, packages, cores, memory, disk, package index, optional parts."""
    from windtunnel.pipelines.views.doctor import examine

    if compile_:
        from windtunnel.pipelines.precompile import compile_kernels

        terminal().print(f"kernels compiled in {compile_kernels():.0f} s")
        return
    raise typer.Exit(examine(terminal()))
