"""Cards of sets of rows that are read from files: what was lost on the way, and what models did not learn from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from windtunnel.data_cards.card import Card, Origin
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.rows import Rows
from windtunnel.schemas.encoded_rows import refused_words
from windtunnel.schemas.plugin import split
from windtunnel.schemas.results import Comparison
from windtunnel.schemas.role import StepName

KINDS = ("read", "union", "clean", "rows", "select")  # the steps of a set, in order


def own_steps(plan: Plan, name: str) -> list[Step]:
    """Return the steps that make a set of `rows:`, in order."""
    return [step for kind in KINDS if (step := plan.find(StepName(kind, name))) is not None]


def own_rows_card(plan: Plan, name: str, store: Path, origins: list[Origin], **common: Any) -> Card:
    """Return the card of a set of `rows:`; `common` holds the fields that every card has."""
    steps = [step.artifact(store) for step in own_steps(plan, name)]
    counts = [artifact.manifest.counts for artifact in steps]
    dropped, unreadable = Counter[str](), Counter[str]()
    for of_step in counts:
        dropped.update(of_step["dropped"])
        unreadable.update(of_step["unreadable"])
    settings = plan.recipe.rows[name]
    return Card(
        name=name,
        question=plan.recipe.question,
        unit="rows",
        folder="rows",
        documents=counts[-1]["kept"],
        bytes=counts[-1]["bytes"] or counts[0]["bytes"],
        seen=counts[0]["seen"],
        dropped=dict(dropped),
        unreadable=dict(unreadable),
        origins=origins,
        settings=_settings(settings, steps[0].manifest.config),
        limits=[
            *_limits(settings),
            *not_learnt(plan, name, store),
            "Rules look at form, not at truth: answers may be wrong, biased or out of date.",
        ],
        **common,
    )


def not_learnt(plan: Plan, name: str, store: Path) -> list[str]:
    """Return a sentence a mix on the rows of a set that its models did not learn from."""
    step = plan.find("compare")
    file = step.artifact(store).path / "comparison.json" if step is not None else None
    if file is None or not file.exists():
        return []
    found = {}
    for mix, parts in Comparison.read(file.parent).encoded.items():
        if words := refused_words([part for part in parts if part.set == name]):
            found.setdefault(words, []).append(mix)
    return [f"Models of {' and '.join(mixes)} did not learn from {words}." for words, mixes in found.items()]


def _settings(rows: Rows, config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was done to the rows, in order."""
    done: list[dict[str, Any]] = [{"layout": config["layout"]}] if config.get("layout") else []
    done += [{"clean": rows.clean}] if rows.clean else []
    done += [{"rules": rows.rules, "on": rows.on.rules}] if rows.rules else []
    done += [{"dedup": rows.methods, "on": rows.on.dedup}] if rows.methods else []
    if rows.decontaminate:
        parameters, against = rows.decontamination
        done.append({"decontaminate": {**parameters, "against": list(against)}, "on": rows.on.decontaminate})
    return [*done, *([{"select": rows.select}] if rows.select else [])]


def _limits(rows: Rows) -> list[str]:
    used = {split("dedup", method)[0] for method in rows.methods} | {split("rule", rule)[0] for rule in rows.rules}
    limits = [] if "pii" in used else ["Personal data, such as names and telephone numbers, were not looked for."]
    if not rows.methods:
        limits.append("Duplicates were not looked for.")
    if not rows.decontaminate:
        limits.append("It was not compared with public evaluation sets; questions of theirs may be in it.")
    return limits
