"""Whether the student's chat template can be trained on the rows, by a sample of them, before anything is paid for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.check import at
from windtunnel.pipelines.recipe.recipe import Train
from windtunnel.pipelines.rows.read_rows import ReadRows
from windtunnel.schemas.encoded_rows import BY_LABEL
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label, make
from windtunnel.schemas.printable import escaped, printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from windtunnel.trainer.data.chat_template_check import TemplateCheck
    from windtunnel.trainer.objectives._chat_objective import ChatObjective

SAMPLE = 256  # rows of a set, of the beginning of its files
UNDESIRABLE, UNLABELLED = BY_LABEL
OF_LABELS = "unpaired"  # the form in which answers are learnt or unlearnt by their label


class _Sample(NamedTuple):
    """What becomes of the first rows of a set: by the form in which stages encode them, and who these stages are."""

    gives: str
    found: Mapping[str, TemplateCheck]  # of the forms that a template has a part in
    readers: Mapping[str, list[str]]  # form -> objectives; empty where no stage learns from the set
    labels: frozenset[bool]  # of their answers

    def lost(self, form: str) -> bool:
        """Return whether nothing of the set can be learnt in a form, as far as its first rows tell."""
        check = self.found.get(form)
        if check is None or not check.checked or check.refused < check.checked:
            return False
        return check.checked < SAMPLE or not check.counts.keys() & {*BY_LABEL}  # a file may be sorted by label

    def words(self, name: str, form: str, without: tuple[str, ...] = ()) -> str:
        """Return which rows are refused in a form and why, but for some reasons; empty where none is."""
        refusals = [refusal for refusal in self.found[form].refusals if refusal.reason not in without]
        told = "; ".join(
            f"{refusal.reason} {refusal.rows:,}, such as row {refusal.first_id}"
            f"{f' ({refusal.detail})' if refusal.detail else ''}{f': {refusal.mend}' if refusal.mend else ''}"
            for refusal in refusals
        )
        who, rows = " and ".join(self.readers.get(form, ())), sum(refusal.rows for refusal in refusals)
        refused = f"{rows:,} cannot be learnt by {who}" if who else f"the template refuses {rows:,}"
        checked = self.found[form].checked
        return printable(f"of the first {checked:,} rows of {escaped(name)}, {refused}: {told}") if refusals else ""

    def notes(self, name: str) -> list[str]:
        """Return what is refused, but for rows that another stage is there for."""
        notes = []
        for form in self.found:
            others = self.readers.keys() - {form}
            without = [UNDESIRABLE] if OF_LABELS in others or not self.readers else []
            without += [UNLABELLED] if others else []
            notes.append(self.words(name, form, tuple(without)))
        return [words for words in notes if words]


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
    from windtunnel.trainer.data.chat_template_check import check_template
    from windtunnel.trainer.data.row_encoders import Limits
    from windtunnel.trainer.modules.export import open_tokenizer_alone

    tokenizer = open_tokenizer_alone(folder)
    try:
        set_template(tokenizer, train_template(plan, variant, train))
    except InputError as error:
        raise at(recipe.train.place(variant, "template"), str(error)) from error
    alone = check_template(tokenizer, [], "conversations", Limits(train.context, truncate=True))
    if alone.problem:
        raise at(recipe.train.place(variant, "start"), alone.problem)
    unable = [name for name, able in alone.abilities.items() if not able]
    notes = [f"the template of {train.start} cannot be trained on {' and '.join(unable)}"] if unable else []
    stages = _stages(train)
    samples = _samples(plan, tokenizer, train, [*stages.values()])
    mixed = {part for name in recipe.mixes for part in recipe.parts(name)}
    for name, sample in samples.items():
        if name in mixed and sample.readers and all(sample.lost(form) for form in sample.readers):
            words = "; ".join(sample.words(name, form) for form in sample.readers)
            raise at(("rows", name), f"no row can be learnt by the model {train.start}: {words}")
        notes += sample.notes(name)
    return [*notes, *_check_each_stage(plan, variant, stages, samples)]


def _stages(train: Train) -> dict[int, ChatObjective]:
    """Return the stages on rows by their numbers."""
    from windtunnel.trainer.objectives._chat_objective import ChatObjective
    from windtunnel.trainer.objectives._objective import Objective

    made = ((number, make(Objective, spec)) for number, spec in enumerate(train.stages))
    return {number: stage for number, stage in made if isinstance(stage, ChatObjective)}


def _samples(
    plan: Plan, tokenizer: PreTrainedTokenizerFast, train: Train, stages: Sequence[ChatObjective]
) -> dict[str, _Sample]:
    """Return what becomes of the first rows of each set that is read from files, in the forms of the stages."""
    from windtunnel.trainer.data.chat_template_check import check_template
    from windtunnel.trainer.data.row_encoders import ENCODERS, Limits

    samples = {}
    for name, work in _read_sets(plan):
        readers: dict[str, list[str]] = {}
        mixed = _mixed(plan, name)
        for stage in stages:
            if stage.kind == work.gives and any(stage.reads(each) for each in mixed):
                readers.setdefault(stage.encoding(work.gives), []).append(label(stage))
        rows, limits = work.first(SAMPLE)[0], Limits(train.context, truncate=True)
        forms = [form for form in readers or (work.gives,) if form in ENCODERS]
        found = {form: check_template(tokenizer, rows, form, limits) for form in forms}
        labels = frozenset(row["label"] for row in rows if row.get("label") is not None)
        samples[name] = _Sample(work.gives, found, readers, labels)
    return samples


def _mixed(plan: Plan, name: str) -> set[str]:
    """Return the sets of mixes and of `train.preferences` that a set is, or that are made from it."""
    recipe = plan.recipe
    made, more = {name}, {name}
    while more:
        more = {each for each, rows in recipe.rows.items() if made & {*rows.parents}} - made
        made |= more
    preferences = {recipe.train.preferences} if recipe.train is not None else set()
    return made & ({part for mix in recipe.mixes for part in recipe.parts(mix)} | preferences)


def _check_each_stage(
    plan: Plan, variant: str, stages: Mapping[int, ChatObjective], samples: Mapping[str, _Sample]
) -> list[str]:
    """Return which stages on labelled answers find one label alone, as far as the first rows of their sets tell.

    Raises RecipeError for a stage that can learn from no row of a mix.
    """
    notes = []
    for number, stage in stages.items():
        for mix in plan.recipe.mixes:
            sets = [name for name in plan.recipe.parts(mix) if name in plan.recipe.sets and stage.reads(name)]
            if any(name not in samples for name in sets):
                continue
            form = stage.encoding(stage.kind)
            own = [name for name in sets if samples[name].gives == stage.kind]
            if own and all(samples[name].lost(form) for name in own):
                words = "; ".join(samples[name].words(name, form) for name in own)
                assert plan.recipe.train is not None
                place = (*plan.recipe.train.place(variant, "stages"), number)
                raise at(place, f"this stage can learn from no row of the mix {mix!r}: {words}")
            labels = {each for name in own for each in samples[name].labels}
            if form == OF_LABELS and len(labels) == 1:
                found, missing = ("true", "false") if True in labels else ("false", "true")
                notes.append(
                    f"{label(stage)} finds the label {found} alone in the mix {escaped(mix)} (the first {SAMPLE} rows "
                    f"of a set were looked at): without `label: {missing}` it has nothing to tell such answers from"
                )
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
