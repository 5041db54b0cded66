"""Generation in Python: rows from a generator and its models, and judges held against people's labels."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from windtunnel.generators.core.generate import Generate
from windtunnel.generators.core.generator import Generator
from windtunnel.generators.judges._judge import make_judge
from windtunnel.generators.judging.calibration import Calibration, examine_pairs
from windtunnel.generators.judging.pairs import pairs_of, read_pairs
from windtunnel.generators.serving.served import Served
from windtunnel.pipelines.api.arguments import check_mapping
from windtunnel.pipelines.api.frames import (
    AnyFrame,
    Texts,
    columns_of,
    documents,
    polars_of,
    table_of,
    text_table,
    write,
)
from windtunnel.pipelines.api.own_errors import own_errors
from windtunnel.pipelines.plan.generation import address
from windtunnel.pipelines.recipe.recipe import Model, Spec
from windtunnel.pipelines.samples.models import fetch, sample_model
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import RecipeError, nearest
from windtunnel.schemas.plugin import make, reference
from windtunnel.schemas.work import Counts

if TYPE_CHECKING:
    import pyarrow as pa

Address = str | Mapping[str, Any]  # MODEL@URL, or the words of a recipe's `models:`


@dataclass(frozen=True, repr=False)
class Generated:
    """What a generator made: every candidate is in `rows` or in `dropped`.

    rows: conversations or preferences, in the form that `datasets` and TRL read. dropped: refused and failed candidates
    with reason, stage and the model's reply. tables: the generator's further tables, by name. counts: rows by reason.
    """

    rows: pl.DataFrame
    dropped: pl.DataFrame
    tables: dict[str, pl.DataFrame]
    counts: Counts

    def __repr__(self) -> str:
        counts = self.counts
        reasons = "".join(f"\n  {name}: {n:,}" for name, n in {**counts.dropped, **counts.unreadable}.items())
        return f"Generated: {counts.seen:,} candidates, {counts.kept:,} rows{reasons}"


@own_errors
def generate(
    kind: Spec,
    models: Address | Mapping[str, Address] | None = None,
    inputs: Mapping[str, Texts] | None = None,
    rows: int | None = None,
    *,
    seed: int | None = None,
    completions: str | Path | None = None,
    concurrency: int = 64,
    text: str = "text",
) -> Generated:
    """Make rows with a generator, as a recipe's `generate:` does.

    Parameters
    ----------
    kind
        A name, or {name: parameters}, of `windtunnel list generator`: `{"self_instruct": {"model": "writer"}}`.
    models
        Where the generator's models answer, by their names in `kind`, or one address for all of them. An address is
        `"MODEL@URL"` of an OpenAI-compatible server, or the words of a recipe's `models:`, such as
        `{"url": URL, "model": NAME, "key": VARIABLE}` or `{"path": DIRECTORY}`, which vLLM then serves here.
    inputs
        Frames or lists of texts by role, for generators that read some: `{"prompts": frame}`.
    rows, seed
        In place of the generator's parameters of these names.
    completions
        A file that keeps every completion: an interrupted call goes on where it stood, a repeated one sends nothing.
    concurrency
        The requests under way at once; rows do not depend on it.

    Raises RecipeError for a wrong generator, parameter, role or address, WindtunnelError when a model does not answer.
    """
    if inputs is not None:
        check_mapping("inputs", inputs, "give frames or lists of texts by role, such as {'prompts': frame}")
    if models is not None and not isinstance(models, str):
        check_mapping("models", models, "give addresses by the models' names, or one address for all of them")
    generator = make(Generator, kind)
    given = {key: value for key, value in (("rows", rows), ("seed", seed)) if value is not None}
    work = Generate(
        kind={reference(generator): generator.model_dump(mode="json", exclude_unset=True) | given},
        models=_served(models, generator.models()),
        completions=None if completions is None else str(completions),
        concurrency=concurrency,
    )
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
        artifacts, out = {}, Path(folder) / "out"
        for number, (role, value) in enumerate((inputs or {}).items()):
            artifacts[role] = Artifact(Path(folder) / f"input{number}")
            write(_rows(value, text), artifacts[role].path / "rows" / "00000.parquet")
        counts = Counts.total([work.run(artifacts, out, rank) for rank in range(work.shards(artifacts))])
        frames = {table: pl.read_parquet(out / table / "*.parquet") for table in ("rows", "dropped", *generator.tables)}
    return Generated(frames.pop("rows"), frames.pop("dropped"), frames, counts)


@own_errors
def calibrate(pairs: AnyFrame | Sequence[Mapping[str, Any]] | str | Path, judge: Spec) -> Calibration:
    """Hold a judge against people's labels and against trivial baselines, as `windtunnel judge calibrate` does.

    Parameters
    ----------
    pairs
        A frame or a list of mappings with prompt, response_a, response_b, labels (a list of `a`, `b`, `tie`, one for
        each person) and, optionally, id and judge (recorded probabilities), or of preferences with prompt, chosen,
        rejected; or a JSONL or Parquet file of them. `subset` or `source` names a row's part of the set.
    judge
        `longest`, `first`, `random`, `recorded`, `openai:MODEL@URL`, `reward:DIRECTORY` or {name: parameters}.

    `figures` of the result are what the command prints: kappa, agreement with its interval and without ties,
    human_ceiling, baselines, swap_consistency, length_preference, brier, ece, n, subsets, best_of, label_mass.
    `findings` says in words what is wrong with the judge. Rows that are no labelled pair, and pairs without a verdict,
    are left out with a warning. Raises InputError where no labelled pair is left, RecipeError for an unknown judge,
    WindtunnelError for a judge that gives no verdict.
    """
    made_judge = make_judge(judge)
    if isinstance(pairs, str | Path):
        read, origin = read_pairs(Path(pairs)), str(pairs)
    else:
        rows = pairs if isinstance(pairs, Sequence) else polars_of(pairs).to_dicts()
        read, origin = pairs_of(rows, "pairs"), "pairs"
    return examine_pairs(read, made_judge, origin, lambda line: warnings.warn(line, stacklevel=5))


def _rows(value: Any, text: str) -> pa.Table:
    """Return the rows of an input: conversations and preferences as they are, texts as documents."""
    table = value if isinstance(value, Sequence) else table_of(value)
    if isinstance(table, Sequence) or not {"messages", "prompt"} & set(columns_of(table)):
        frame = polars_of(text_table(table, text))
        made = pl.DataFrame(documents(frame, text).select(["id", "text", "source"]))
        table = frame.with_columns(made.get_columns())
    return polars_of(table).to_arrow()


def _served(models: Any, names: Sequence[str]) -> dict[str, Served]:
    """Return where each of the generator's models answers."""
    if isinstance(models, str) or {"url", "path", "sample"} & set(models or ()):
        models = dict.fromkeys(names, models)
    given: dict[str, Any] = dict(models or {})
    for name in given:
        if name not in names:
            raise RecipeError(f"the generator asks no model called {name!r}: {nearest(name, names)}")
    return {name: _address(name, value) for name, value in given.items()}


def _address(name: str, value: Any) -> Served:
    if isinstance(value, str):
        model, at, url = value.rpartition("@")
        if not at or not model:
            raise RecipeError(f"model {name!r}: write MODEL@URL, for example smollm2@http://127.0.0.1:8000/v1")
        value = {"url": url, "model": model}
    model = Model.model_validate(value)
    if model.url is not None:
        return address(model)
    options = {field: getattr(model, field) for field in ("price", "parameters", "verdict")}
    options |= model.serve.model_dump() if model.serve else {}
    if model.path is not None:
        return Served(serve=model.path, model=name, **options)
    sample = str(model.sample)
    return Served(serve=str(fetch(sample)), model=name, licence=sample_model(sample).licence, **options)
