"""What cards of corpora, rows and models have in common: settings, origins, and who made the artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from windtunnel.data_cards.card import Origin
from windtunnel.pipelines.engine.mirrors.opening import fetched
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.decontamination import HELD_OUT, DecontaminationSettings
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.plugin import base, label, make


def lineage(plan: Plan, name: str) -> tuple[list[dict[str, Any]], set[str]]:
    """Return the settings of a corpus and all it is made from, oldest first, and the names of those."""
    corpus = plan.recipe.corpora[name]
    settings: list[dict[str, Any]] = []
    names = {name}
    for parent in corpus.parents:
        inherited, more = lineage(plan, parent)
        settings += [s for s in inherited if s not in settings]
        names |= more
    settings += [_full("rule", spec, corpus.words) for spec in corpus.rules]
    settings += [_full("dedup", spec, corpus.words) for spec in corpus.methods]
    if corpus.decontaminate:
        parameters, against = corpus.decontamination
        sets = [*against, *([HELD_OUT] if plan.recipe.held_out is not None else [])]
        how = DecontaminationSettings(**parameters).model_dump(mode="json")
        settings.append({"decontaminate": {**how, "against": sets}})
    return settings, names


def _full(kind: str, spec: Any, words: str) -> dict[str, Any]:
    """Return a rule or method with every parameter written out, as used: defaults are thresholds too."""
    plugin: Any = make(base(kind), spec)
    if kind == "rule":
        plugin = plugin.for_words(words)
    return {label(plugin): without_places(plugin.model_dump(mode="json"))}


def without_places(value: Any) -> Any:
    """Return parameters with the names of files in place of where they lie on this machine."""
    if isinstance(value, dict):
        return {key: without_places(held) for key, held in value.items()}
    if isinstance(value, list):
        return [without_places(held) for held in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def origins_of(read: Artifact) -> list[Origin]:
    file = fetched(read, "origins.json").path / "origins.json"
    known = json.loads(file.read_bytes()) if file.exists() else []
    fields = ("name", "about", "licence", "origin")
    if known:
        return [Origin(**{key: str(origin.get(key, "")) for key in fields}) for origin in known]
    config = read.manifest.config
    return [Origin(name=str(config.get("source", "files")), about="files of the user's own", licence="not stated")]


def model_words(plan: Plan, name: str) -> str:
    """Return what a model is: its sample, directory name or served name; addresses and keys stay out."""
    model = plan.recipe.models[name]
    if model.sample is not None:
        return f"sample model {model.sample}"
    return Path(model.path).name if model.path is not None else model.model or "a served model"


def made_by(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {"key": manifest.key, "versions": manifest.versions, "git": manifest.git}
