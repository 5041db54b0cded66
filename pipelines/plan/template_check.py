"""Whether the student's chat template can be trained on the rows, by a sample of them, before anything is paid for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.check import at
from windtunnel.pipelines.recipe.recipe import Train
from windtunnel.pipelines.rows.read_rows import ReadRows
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import escaped, printable

SAMPLE = 256  # rows of a set, of the beginning of its files


def template_notes(plan: Plan) -> list[str]:
    """Return what the template refuses of a sample of each set that is read from files, and what it cannot express.

    Nothing is said where all goes well, or where the student is not on this machine yet. Raises RecipeError where
    nothing of a set that a mix takes can be learnt.
    """
    train = plan.recipe.train
    if train is None or not plan.recipe.of_rows:
        return []
    notes = [note for variant, settings in train.each.items() for note in _notes(plan, variant, settings)]
    return list(dict.fromkeys(notes))


def _notes(plan: Plan, variant: str, train: Train) -> list[str]:
    recipe, folder = plan.recipe, _student(plan, train)
    if folder is None or recipe.train is None:
        return []
    from windtunnel.trainer.data.chat_choice import set_template
    from windtunnel.trainer.data.chat_rows import Limits
    from windtunnel.trainer.data.chat_template_check import check_template
    from windtunnel.trainer.modules.export import open_tokenizer_alone

    tokenizer = open_tokenizer_alone(folder)
    try:
        set_template(tokenizer, train_template(plan, variant, train))
    except InputError as error:
        raise at(recipe.train.place(variant, "template"), str(error)) from error
    mixed = {part for name in recipe.mixes for part in recipe.parts(name)}
    alone = check_template(tokenizer, [], "conversations", Limits(train.context, truncate=True))
    if alone.problem:
        raise at(recipe.train.place(variant, "start"), alone.problem)
    unable = [name for name, able in alone.abilities.items() if not able]
    notes = [f"the template of {train.start} cannot be trained on {' and '.join(unable)}"] if unable else []
    for name, work in _read_sets(plan):
        found = check_template(tokenizer, work.first(SAMPLE)[0], work.gives, Limits(train.context, truncate=True))
        told = "; ".join(
            f"{refusal.reason} {refusal.rows:,}, such as row {refusal.first_id}"
            f"{f' ({refusal.detail})' if refusal.detail else ''}{f': {refusal.mend}' if refusal.mend else ''}"
            for refusal in found.refusals
        )
        words = (
            f"of the first {found.checked:,} rows of {escaped(name)}, the template refuses {found.refused:,}: {told}"
        )
        if found.checked and found.refused == found.checked and name in mixed:
            raise at(("rows", name), f"no row can be learnt by the model {train.start}: {words}")
        notes += [printable(words)] if found.refused else []
    return notes


def train_template(plan: Plan, variant: str, train: Train) -> str | None:
    """Return the template that training takes: a name of ours, or the text of the file that the recipe names."""
    from windtunnel.trainer.data.chat_choice import as_text

    if train.template is None:
        return None
    try:
        return as_text(train.template, plan.directory)
    except InputError as error:
        assert plan.recipe.train is not None
        raise at(plan.recipe.train.place(variant, "template"), str(error)) from error


def _student(plan: Plan, train: Train) -> Path | None:
    """Return the directory of the model that training starts from, if it is here already."""
    from windtunnel.pipelines.samples.models import directory

    if train.start is None:
        return None
    model = plan.recipe.models[train.start]
    folder = directory(model.sample) if model.sample is not None else Path(str(model.path))
    return folder if (folder / "tokenizer.json").is_file() else None


def _read_sets(plan: Plan) -> Iterator[tuple[str, ReadRows]]:
    for name in plan.recipe.rows:
        step = plan.find(f"read:{name}")
        if step is not None and isinstance(step.work, ReadRows):
            yield name, step.work
