"""Gathers what data cards say from finished artifacts, and writes each beside its data, ready to be passed on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from windtunnel.data_cards.card import Card, Origin, render
from windtunnel.data_cards.model_card import render_model
from windtunnel.pipelines.engine.mirrors.opening import add_file, fetched, open_store
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.decontamination import HELD_OUT
from windtunnel.pipelines.views.card_parts import lineage, made_by, model_words, origins_of
from windtunnel.pipelines.views.model_cards import model_card
from windtunnel.pipelines.views.row_cards import not_learnt, own_rows_card, own_steps
from windtunnel.schemas import plugin_files
from windtunnel.schemas.artifact import Artifact, write_text
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import split
from windtunnel.schemas.role import StepName

CARD = "README.md"


def write_cards(
    recipe_name: str, sets: list[str], out: Path | None = None, say: Callable[[str], None] | None = None
) -> list[Path]:
    """Write a card into the directory of every finished corpus, set of rows and model, and as NAME.md into `out`.

    Return the paths beside the data. Files of the held-out set have a `corpus:` step too, but are no corpus of the
    recipe and get no card. `say` is told what has none because the recipe as it is now has not made it. Raises
    InputError when nothing is finished yet.
    """
    plan = planned(recipe_name, sets)
    store = open_store(plan.recipe.store)
    written = []
    for step in plan.steps:
        artifact = step.artifact(store)
        if step.kind == "corpus" and step.name.what not in plan.recipe.corpora:
            continue
        if step.kind in ("corpus", "generate") and artifact.done:
            with plugin_files.relative_to(plan.directory):
                fetched(artifact, "kept", "rows").intact("kept", "rows")
                card = corpus_card(plan, step, store) if step.kind == "corpus" else rows_card(plan, step, store)
            write_text(artifact.path / CARD, render(card))
            add_file(artifact, CARD)
            if out is not None:
                write_text(out / f"{card.name}.md", render(card))
            written.append(artifact.path / CARD)
    written += [*_own_rows(plan, store, out), *_models(plan, store, out)]
    if not written:
        raise InputError(f"nothing is finished in {store}: `windtunnel run {recipe_name}` comes first")
    if say is not None and (missing := _unfinished(plan, store)):
        say(
            f"no card of {', '.join(missing)}: not made yet by this recipe as it is now; "
            f"`windtunnel run {recipe_name}` makes what is missing"
        )
    return written


def _unfinished(plan: Plan, store: Path) -> list[str]:
    """Return the names of steps whose results would have a card."""
    own = [steps[-1] for name in plan.recipe.rows if (steps := own_steps(plan, name))]
    corpora = [step for step in plan.of_kind("corpus") if step.name.what in plan.recipe.corpora]
    wanted = [*corpora, *plan.of_kind("generate"), *own, *plan.of_kind("train")]
    return [str(step.name) for step in wanted if not step.artifact(store).done]


def _own_rows(plan: Plan, store: Path, out: Path | None) -> list[Path]:
    """Write the cards of the sets of `rows:` that are finished; return their paths."""
    written = []
    for name in plan.recipe.rows:
        steps = own_steps(plan, name)
        if not steps or not all(step.artifact(store).done for step in steps):
            continue
        artifact = fetched(steps[-1].artifact(store), "rows")
        artifact.intact("rows")
        origins = [origin for read in steps[-1].reads() for origin in origins_of(read.artifact(store))]
        common = {"sources": _tally(artifact, "rows", "source"), **made_by(artifact)}
        with plugin_files.relative_to(plan.directory):
            card = own_rows_card(plan, name, store, list(dict.fromkeys(origins)), **common)
        write_text(artifact.path / CARD, render(card))
        add_file(artifact, CARD)
        if out is not None:
            write_text(out / f"{name}.md", render(card))
        written.append(artifact.path / CARD)
    return written


def _models(plan: Plan, store: Path, out: Path | None) -> list[Path]:
    """Write the cards of the models that are finished, beside `model/`; return their paths."""
    written = []
    for step in plan.of_kind("train"):
        artifact = step.artifact(store)
        if not artifact.done:
            continue
        with plugin_files.relative_to(plan.directory):
            card = model_card(plan, step, store)
        text = render_model(card)
        write_text(artifact.path / CARD, text)
        add_file(artifact, CARD)
        if out is not None:
            write_text(out / f"{card.run}-seed{card.seed}.md", text)
        written.append(artifact.path / CARD)
    return written


def corpus_card(plan: Plan, step: Step, store: Path) -> Card:
    """Return the card of a corpus."""
    name = step.name.what
    settings, ancestors = lineage(plan, name)
    reads = [s.artifact(store) for s in plan.steps if s.kind == "read" and s.name.what in ancestors]
    done = [read for read in reads if read.done]
    artifact = step.artifact(store)
    unreadable: dict[str, int] = {}
    for read in done:
        for error, count in read.manifest.counts["unreadable"].items():
            unreadable[error] = unreadable.get(error, 0) + count
    counts = artifact.manifest.counts
    return Card(
        name=name,
        question=plan.recipe.question,
        documents=counts["kept"],
        bytes=counts["bytes"],
        seen=counts["seen"] + sum(unreadable.values()),
        languages=_tally(artifact, "kept", _language(artifact)),
        sources=_tally(artifact, "kept", "source"),
        dropped=counts["dropped"],
        unreadable=unreadable,
        origins=[origin for read in done for origin in origins_of(read)],
        settings=settings,
        limits=_corpus_limits(settings),
        **made_by(artifact),
    )


def rows_card(plan: Plan, step: Step, store: Path) -> Card:
    """Return the card of a generated set."""
    name = step.name.what
    artifact = step.artifact(store)
    config, counts = artifact.manifest.config, artifact.manifest.counts
    models = {model: model_words(plan, model) for model in config.get("models") or {}}
    prompts = (config.get("fingerprint") or {}).get("prompts") or {}
    remarks = _remarks(plan, name, artifact)
    return Card(
        name=name,
        question=plan.recipe.question,
        unit="rows",
        folder="rows",
        documents=counts["kept"],
        bytes=counts["bytes"],
        seen=counts["seen"],
        sources=_tally(artifact, "rows", "source"),
        dropped=counts["dropped"],
        unreadable=counts["unreadable"],
        settings=[config["kind"], *([{"prompts": prompts}] if prompts else [])],
        origins=_row_origins(plan, step, list(models), store),
        models=models,
        calibration=_calibration(plan, config["kind"], store),
        remarks=remarks,
        limits=[*_row_limits(bool(models), bool(remarks)), *not_learnt(plan, name, store)],
        **made_by(artifact),
    )


def _row_limits(by_models: bool, read: bool) -> list[str]:
    if not by_models:
        return [
            "No model wrote these rows: code made them from documents and templates, so their wordings are few, and "
            "they show no more than the tasks they are made for."
        ]
    return [
        "Every answer was written by a model: it may be wrong, and it repeats what the model was trained on.",
        "The terms of the models named above may limit what these rows can be used for.",
        "The rules of the generator are not a check of facts"
        + ("." if read else "; read some rows before you rely on them."),
    ]


def _remarks(plan: Plan, name: str, artifact: Artifact) -> str:
    """Return what a reader said of these very rows; remarks on others, of another model say, are none on these."""
    remarks = plan.recipe.generate[name].remarks
    return remarks.text if remarks is not None and artifact.manifest.key.startswith(remarks.rows) else ""


def _corpus_limits(settings: list[dict[str, Any]]) -> list[str]:
    """Return what these settings do not do, in words."""
    used = {name for setting in settings for name in setting}
    compared = {name for setting in settings for name in setting.get("decontaminate", {}).get("against", ())}
    limits = []
    if "pii" not in used:
        limits.append("Personal data, such as names, addresses and telephone numbers, were not looked for.")
    if "badwords" not in used:
        limits.append("Offensive text was not looked for.")
    if not used & {"exact", "minhash", "sentence", "substring", "line", "paragraph"}:
        limits.append("Duplicates were not looked for.")
    if "minhash" in used:
        limits.append("MinHash finds most near-duplicates, not all; documents of a few words are not compared.")
    if "language" in used:
        limits.append("The language is a classifier's guess: short, mixed and technical text is often misjudged.")
    if not compared:
        limits.append("It was not compared with public evaluation sets; text of theirs may be in it.")
    elif compared == {HELD_OUT}:
        limits.append(
            "It was compared with the held-out set of its recipe, not with public evaluation sets; text of theirs may "
            "be in it."
        )
    else:
        limits.append("It was compared with the evaluation sets named in the settings; text of others may be in it.")
    return [*limits, "Rules drop by form, not by truth: what is kept may be wrong, biased or out of date."]


def _row_origins(plan: Plan, step: Step, models: list[str], store: Path) -> list[Origin]:
    """Return what generated rows come from: the sample models that wrote them and the texts that they were shown."""
    from windtunnel.pipelines.samples.models import sample_model

    names = dict.fromkeys(plan.recipe.models[name].sample for name in models)
    samples = [sample_model(name) for name in names if name is not None]
    found = [
        Origin(name=m.member.rpartition("/")[2], about=m.about, licence=m.licence, origin=m.origin) for m in samples
    ]
    for read in step.reads():
        if read.artifact(store).done:
            found += [origin for origin in origins_of(read.artifact(store)) if origin not in found]
    return found


def _calibration(plan: Plan, kind: dict[str, Any], store: Path) -> str:
    """Return in a sentence what is known of the judges of a generated set; empty where nothing was judged."""
    _, params = split("generator", kind)
    said = []
    for judge in (params.get("judges") or ()) if isinstance(params, dict) else ():
        step = plan.find(StepName("calibrate", judge))
        file = fetched(step.artifact(store)).path / "calibration.json" if step is not None else None
        if file is None or not file.exists():
            said.append(f"{judge} was not calibrated against known labels.")
            continue
        calibration = json.loads(file.read_bytes())
        whose = "planted" if calibration["planted"] else "people's"
        rule, chance = max(calibration["baselines"].items(), key=lambda item: item[1])
        interval = f"[{calibration['low']:.0%}, {calibration['high']:.0%}]"
        said.append(
            f"{judge} has kappa {calibration['kappa']:.2f}: it agreed with {calibration['agreement']:.0%} {interval} "
            f"of {calibration['n']} {whose} labels ({calibration['pairs']}); the best plain rule, {rule}, "
            f"with {chance:.0%}."
        )
    return " ".join(said)


def _language(artifact: Artifact) -> pl.Expr:
    """Return the language that the source told, or the one that was measured where it told none."""
    files = artifact.files("kept")
    why = pl.read_parquet_schema(files[0]).get("why") if files else None
    measured = isinstance(why, pl.Struct) and any(field.name == "lang" for field in why.fields)
    return pl.coalesce("lang", pl.col("why").struct.field("lang")) if measured else pl.col("lang")


def _tally(artifact: Artifact, folder: str, column: str | pl.Expr) -> dict[str, int]:
    """Return how many rows have each value of a column, most frequent first, at most 20."""
    files = artifact.files(folder)
    if not files:
        return {}
    value = (pl.col(column) if isinstance(column, str) else column).alias("value")
    frame = pl.scan_parquet(files).group_by(value).len().collect().drop_nulls()
    rows = frame.sort("len", "value", descending=[True, False]).head(20).iter_rows()
    return {str(value): count for value, count in rows}
