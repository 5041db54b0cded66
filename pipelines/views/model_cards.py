"""Gathers what the card of a trained model says: data lineage, training and scores, from finished artifacts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from windtunnel.data_cards.card import Origin
from windtunnel.data_cards.model_card import Drawn, ModelCard, Score
from windtunnel.pipelines.engine.mirrors.opening import fetched
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.report.wording import label
from windtunnel.pipelines.views.card_parts import lineage, made_by, model_words, origins_of, without_places
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.model_delta import delta_of
from windtunnel.schemas.plugin import base, make
from windtunnel.schemas.results import Comparison, RunResult
from windtunnel.schemas.role import StepName
from windtunnel.trainer.models._model import kind_in

LEFT_OUT = ("mix", "seed", "template", "earlier")  # of a run's settings: said elsewhere, or long
COUNTS = {  # beginning of metrics -> the metric that counts what they are means over
    "response_": "held_out_conversations", "preference_": "held_out_preferences", "label_": "label_items",
}  # fmt: skip
SOURCES = 40  # rows of the table of what was trained on


def model_card(plan: Plan, step: Step, store: Path) -> ModelCard:
    """Return the card of a finished training run, `train:MIX:SEED`."""
    artifact = fetched(step.artifact(store), "model", "result.json", "realised.parquet", *_stages(step.artifact(store)))
    manifest, folder = artifact.manifest, artifact.path / "model"
    run = str(manifest.config["mix"])
    mix, train = plan.recipe.trainings.get(run, (run, plan.recipe.train))
    results = [RunResult.model_validate_json(file.read_bytes()) for file in _files(artifact, "result.json")]
    own = not plan.recipe.of_rows and mix in plan.recipe.mixes
    of_mix = plan.recipe.corpora_of(mix) if mix in plan.recipe.mixes else []
    corpora = {name: lineage(plan, name) for name in of_mix}
    stages = _specs(step)
    config = {**manifest.config, "stages": [stages[number] for number in sorted(stages)]}
    names = {ancestor for _, ancestors in corpora.values() for ancestor in ancestors}
    reads = [read for read in step.reads() if not own or read.name.names[0] in names]
    return ModelCard(
        run=run,
        seed=int(manifest.config["seed"]),
        question=plan.recipe.question,
        kind=_kind(folder),
        delta=delta_of(folder),
        start=_start(plan, train.start) if train is not None and train.start is not None else None,
        drawn=_drawn(_files(artifact, "realised.parquet"), stages),
        mixed=_mix(plan, mix),
        corpora={name: settings for name, (settings, _) in corpora.items()},
        origins=_origins(reads, store),
        tokenizer=_tokenizer(plan, store, folder),
        settings=without_places({k: v for k, v in config.items() if k not in LEFT_OUT and v is not None}),
        parameters=results[-1].parameters,
        tokens=sum(result.tokens for result in results),
        bytes=sum(result.bytes_trained for result in results),
        steps=sum(result.steps for result in results),
        flops=sum(result.flops for result in results),
        seconds=sum(result.seconds for result in results),
        device=str(manifest.counts.get("notes", {}).get("gpu") or manifest.config.get("device", "cpu")),
        measure=results[-1].measure,
        scores=_scores(results[-1]),
        left_out=_left_out(results[-1]),
        effects=_effects(plan, run, store),
        **made_by(artifact),
    )


def _start(plan: Plan, name: str) -> str:
    """Return what the model is that training started from; a directory's name says little without the recipe's."""
    words = model_words(plan, name)
    return f"{name} (a model of the user's own, {words})" if plan.recipe.models[name].path is not None else words


def _specs(step: Step) -> dict[int, Any]:
    """Return the specs of all stages of a training by their number, those that it shares with others included."""
    found: dict[int, Any] = {}
    for earlier in step.inputs.values():
        if earlier.kind == "first_stages":
            found |= _specs(earlier)
    return found | dict(enumerate(step.identity["stages"], start=step.identity.get("earlier") or 0))


def _stages(artifact: Artifact) -> list[str]:
    """Return the folders of the stages before the last one, in order."""
    found = {file.partition("/")[0] for file in artifact.manifest.files}
    return sorted((name for name in found if name.startswith("stage")), key=lambda name: (len(name), name))


def _files(artifact: Artifact, name: str) -> list[Path]:
    """Return a file of every stage, in order."""
    places = [artifact.path / stage / name for stage in _stages(artifact)] + [artifact.path / name]
    return [place for place in places if place.is_file()]


def _kind(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    reward = str((config.get("architectures") or [""])[0]).endswith("ForSequenceClassification")
    return "reward" if reward else kind_in(folder)


def _drawn(files: list[Path], stages: Mapping[int, Any]) -> list[Drawn]:
    """Return what all stages were trained on by corpus and source, most tokens first."""
    frames = []
    for file in files:
        number = int(file.parent.name.removeprefix("stage")) if file.parent.name.startswith("stage") else max(stages)
        answers = make(base("objective"), stages[number]).kind != "tokens"  # type: ignore[attr-defined]
        if (frame := pl.read_parquet(file)).width:
            frames.append(frame.with_columns(answers=pl.lit(answers)))
    if not frames:
        return []
    wanted = ("domain", "source", "answers", "tokens", "epochs")
    rows = pl.concat(
        [frame.select(name for name in wanted if name in frame.columns) for frame in frames], how="diagonal"
    )
    sums = rows.group_by("domain", "source", "answers").agg(pl.selectors.numeric().sum())
    total = max(1, int(sums["tokens"].sum()))
    descending = [True, False, False, False]
    ordered = sums.sort("tokens", "domain", "source", "answers", descending=descending).head(SOURCES)
    return [
        Drawn(
            corpus=str(row["domain"]),
            source=str(row["source"]),
            tokens=row["tokens"],
            share=row["tokens"] / total,
            epochs=row.get("epochs"),
            answers=row["answers"],
        )
        for row in ordered.iter_rows(named=True)
    ]


def _mix(plan: Plan, mix: str) -> Any:
    """Return a mix as the recipe has it; None for one that a comparison added."""
    found = plan.recipe.mixes.get(mix)
    return found.model_dump(mode="json", exclude_none=True) if hasattr(found, "model_dump") else found  # type: ignore[union-attr]


def _origins(reads: list[Step], store: Path) -> list[Origin]:
    done = [read.artifact(store) for read in reads if read.artifact(store).done]
    return list(dict.fromkeys(origin for read in done for origin in origins_of(read)))


def _tokenizer(plan: Plan, store: Path, folder: Path) -> str:
    """Return in words where the tokenizer is from and how many tokens it has."""
    from windtunnel.schemas.special_tokens import special_tokens

    step = plan.find(StepName("tokenizer"))
    config = step.artifact(store).manifest.config if step is not None and step.artifact(store).done else {}
    words = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    size = len(words["model"].get("vocab") or ()) + len(
        {token["content"] for token in words.get("added_tokens", ())} - set(words["model"].get("vocab") or ())
    )
    said = "that of the model that training started from"
    tokens = plan.recipe.tokens
    if "vocabulary" in config and tokens is not None and tokens.tokenizer is not None:
        said = f"byte-level BPE trained on {tokens.tokenizer.trained_on}"
    elif "path" in config:
        said = f"that of the directory {Path(str(config['path'])).name}"
    return f"{said}, {size:,} tokens; special ones: {' '.join(special_tokens(folder)[:8])}"


def _scores(result: RunResult) -> list[Score]:
    scores = []
    if result.held_out is not None and result.held_out.bytes:
        found = {"all": result.held_out, **(result.domains if len(result.domains) > 1 else {})}
        scores += [
            Score(name=name, value=t.bits_per_byte, documents=t.documents) for name, t in found.items() if t.bytes
        ]
    metrics = result.metrics
    for name, value in sorted(metrics.items()):
        if name not in COUNTS.values() and not name.startswith("held_out_"):
            number = next((metrics.get(count) for start, count in COUNTS.items() if name.startswith(start)), None)
            scores.append(Score(name=name, value=value, documents=None if number is None else round(number)))
    return scores


def _left_out(result: RunResult) -> dict[str, int]:
    """Return how many held-out rows were not measured, by what they are."""
    counts = {name: round(n) for name, n in sorted(result.metrics.items()) if name.startswith("held_out_") and n}
    return {name.replace("_", " "): n for name, n in counts.items() if name not in COUNTS.values()}


def _effects(plan: Plan, run: str, store: Path) -> list[str]:
    """Return what the recipe's comparison says of the runs of a name, if it is finished."""
    step = plan.find(StepName("compare"))
    if step is None or not step.artifact(store).done:
        return []
    comparison = Comparison.read(fetched(step.artifact(store)).path)
    said = []
    for effect in comparison.effects:
        if effect.mix != run:
            continue
        known = effect.low is not None and effect.high is not None
        within = f", {effect.interval:.0%} interval [{effect.low:.4g}, {effect.high:.4g}]" if known else ""
        over = "one seed, which shows no spread" if effect.seeds == 1 else f"{effect.seeds} seeds"
        verdict = f"no verdict: {effect.withheld}" if effect.withheld else f"verdict: {label(effect)}"
        size = f"{effect.effect:+.4g} {comparison.unit}" if effect.effect else "equal"
        said.append(f"{run} minus {effect.baseline} over {over}: {size}{within}; {verdict}.")
    return said
