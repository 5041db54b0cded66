"""The commands on files of one's own: filter, dedup and decontaminate; `windtunnel.pipelines.cli` adds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from windtunnel.pipelines.views.console import terminal
from windtunnel.schemas.errors import RecipeError, value_message
from windtunnel.schemas.printable import escaped

OwnFiles = Annotated[
    str, typer.Argument(metavar="IN", help="A Parquet, Arrow, JSONL or WARC file, a directory or glob; also s3://...")
]
OwnOut = Annotated[Path, typer.Argument(metavar="OUT", help="A new directory: kept/ and dropped/ go there.")]
TextColumn = Annotated[
    str,
    typer.Option(
        "--text", metavar="COLUMN", help="The column of the text; of chat rows: question, answers, conversation."
    ),
]


def filter_(
    source: OwnFiles,
    out: OwnOut,
    rules: Annotated[
        str,
        typer.Option(
            help="Rules by name, gopher_quality,fineweb; or as recipes have it: '[{length: {min_words: 9}}]'."
        ),
    ],
    exact_words: Annotated[
        bool, typer.Option("--exact-words", help="Split words as spaCy does: slow, for parity.")
    ] = False,
    language: Annotated[str | None, typer.Option(help="Whose words --exact-words finds: de, fr, ... [en]")] = None,
    text: TextColumn = "text",
) -> None:
    """Apply rule sets to files of your own; nothing is lost: dropped rows keep their values and their reason."""
    from windtunnel.pipelines.files.filter import filter_files
    from windtunnel.pipelines.views.terminal import TerminalProgress

    totals = filter_files(source, out, _listed(rules), exact_words, text, TerminalProgress(terminal()), language)
    _summary(totals, out)


def dedup(
    source: OwnFiles,
    out: OwnOut,
    kind: Annotated[
        str,
        typer.Option(
            help="exact, minhash, sentence, substring, line or paragraph; or as recipes have it: "
            "'{minhash: {ngram: 7, keep: longest, index: DIR}}'."
        ),
    ] = "minhash",
    text: TextColumn = "text",
    save_index: Annotated[
        Path | None, typer.Option(help="Keep the keys here, so that later data can be deduplicated against these.")
    ] = None,
) -> None:
    """Deduplicate files of your own: within themselves, and against an index of others."""
    from windtunnel.pipelines.files.dedup import dedup_files
    from windtunnel.pipelines.views.terminal import TerminalProgress

    methods = _listed(kind)
    if len(methods) != 1:
        raise RecipeError(f"--kind {kind!r} names {len(methods)} methods: one at a time, each on the other's kept/")
    totals = dedup_files(source, out, methods[0], text, save_index, TerminalProgress(terminal()))
    _summary(totals, out)


def _listed(value: str) -> list[Any]:
    """Return the words of an option: names with commas between them, or YAML where there are brackets."""
    from windtunnel.pipelines.recipe.yaml_loader import load

    if not value.lstrip().startswith(("{", "[")):
        return [name.strip() for name in value.split(",") if name.strip()] or [value]
    specs = load(value, repr(value)).value
    return specs if isinstance(specs, list) else [specs]


def _summary(totals: Any, out: Path) -> None:
    console = terminal()
    console.print(f"{totals.seen:,} in, {totals.kept:,} kept, {totals.seen - totals.kept:,} not, in {out}")
    for reason, count in {**totals.dropped, **totals.unreadable}.items():
        console.print(f"  {escaped(reason):<32} {count:>10,}")


def decontaminate(
    source: OwnFiles,
    out: OwnOut,
    against: Annotated[
        str,
        typer.Option(
            help="Evaluation files with commas between them; or as recipes have it: "
            "'{gsm8k: {jsonl: {path: FILE, text: question}}}'."
        ),
    ],
    how: Annotated[str, typer.Option(help="As recipes have it: '{ngram: 13, min_matches: 1}'.")] = "{}",
    text: TextColumn = "text",
) -> None:
    """Take text that evaluation sets hold out of files of your own; overlap.parquet says how much of which set."""
    from windtunnel.pipelines.datasets.decontaminate import Decontamination
    from windtunnel.pipelines.files.decontaminate import decontaminate_files
    from windtunnel.pipelines.files.evaluation_files import evaluation_sources
    from windtunnel.pipelines.recipe.yaml_loader import load
    from windtunnel.pipelines.views.terminal import TerminalProgress

    sets = evaluation_sources(_listed(against))
    try:
        settings = Decontamination.model_validate(load(how, "--how").value)
    except ValidationError as error:
        raise RecipeError(f"--how {how!r}: {value_message(error)}") from None
    _summary(decontaminate_files(Path(source), out, sets, settings, text, TerminalProgress(terminal())), out)


COMMANDS: dict[str, Callable[..., None]] = {"filter": filter_, "dedup": dedup, "decontaminate": decontaminate}
