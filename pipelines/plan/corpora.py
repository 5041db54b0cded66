"""The part of a plan that makes corpora and the held-out set: read, rules, dedup, decontamination."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from windtunnel.pipelines.dedup._dedup import Dedup
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.check import at, placing
from windtunnel.pipelines.recipe.decontamination import HELD_OUT
from windtunnel.pipelines.recipe.recipe import Corpus
from windtunnel.schemas.errors import nearest
from windtunnel.schemas.plugin import make
from windtunnel.schemas.role import Role, StepName, numbered


@dataclass(frozen=True)
class View:
    """The state of a corpus: its documents, the last decisions on them, and all measurements."""

    documents: Step
    decisions: Step | None = None
    measures: tuple[Step, ...] = ()

    @property
    def inputs(self) -> dict[str, Step]:
        """The documents and decisions by role."""
        return {"documents": self.documents} | ({"decisions": self.decisions} if self.decisions else {})


class Texts:
    """Adds the recipe's corpora and its held-out set to a plan, each once and after what it is made from."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.recipe = plan.recipe
        self.views: dict[str, View] = {}
        self.corpora: dict[str, Step] = {}
        self._held_out: Step | None = None

    def all(self) -> dict[str, Step]:
        """Return the `corpus:` steps by name, in the order of the recipe."""
        return {name: self.corpus(name) for name in self.recipe.corpora}

    def corpus(self, name: str) -> Step:
        """Return the step that holds a corpus's kept and dropped documents."""
        if name not in self.corpora:
            from windtunnel.pipelines.datasets.corpus import Corpus as CorpusWork

            view = self.views[name] = self._view(name, self.recipe.corpora[name])
            inputs = view.inputs | numbered("measures", view.measures)
            self.corpora[name] = self.plan.add(StepName("corpus", name), CorpusWork(), inputs)
            if view.measures:
                from windtunnel.pipelines.datasets.stats import Statistics

                self.plan.add(StepName("stats", name), Statistics(), {"corpus": self.corpora[name]})
        return self.corpora[name]

    def held_out(self) -> Step | None:
        """Return the step of the frozen evaluation documents; None when the recipe has none made of documents."""
        settings = self.recipe.held_out
        if settings is None or self.recipe.of_rows or any(name in self.recipe.sets for name in settings.sets):
            return None
        if self._held_out is None:
            from windtunnel.pipelines.datasets.held_out import HeldOut

            fields = settings.model_dump(exclude={"from_", "files"}, exclude_none=True)
            if settings.files is not None:
                fields["share"] = 1.0
                with placing("held_out", "files"):
                    source = self._files("held_out", settings.files)
            else:
                source = self.corpus(settings.sets[0])
            self._held_out = self.plan.add(StepName("held_out"), HeldOut(**fields), {"corpus": source})
        return self._held_out

    def _files(self, name: str, source: Any) -> Step:
        """Add a source, without rules, as a corpus."""
        from windtunnel.pipelines.datasets.corpus import Corpus as CorpusWork

        return self.plan.add(StepName("corpus", name), CorpusWork(), {"documents": self._read(source, name)})

    def _read(self, source: Any, *names: str) -> Step:
        from windtunnel.pipelines.sources._read import read_work

        return self.plan.add(StepName("read", *names), read_work(source))

    def _view(self, name: str, corpus: Corpus) -> View:
        for parent in corpus.parents:
            self.corpus(parent)
        if len(corpus.parents) == 1:
            view = self.views[corpus.parents[0]]
        elif corpus.parents:
            from windtunnel.pipelines.datasets.union import Union

            parents = {Role("corpus", parent): self.corpora[parent] for parent in corpus.parents}
            order = () if list(parents) == sorted(parents) else tuple(parents)
            view = View(self.plan.add(StepName("union", name), Union(order=order), parents))
        else:
            with placing("corpora", name, "source"):
                view = View(self._read(corpus.source, name))
        return self._decontaminated(name, corpus, self._deduplicated(name, corpus, self._ruled(name, corpus, view)))

    def _ruled(self, name: str, corpus: Corpus, view: View) -> View:
        words, language = corpus.words, corpus.language or "en"
        return ruled(self.plan, ("corpora", name), name, corpus.rules, view, words, language, self._trained)

    def _trained(self, name: str, work: Any) -> dict[str, Step]:
        """Add the training of a classifier that a rule scores with, from the corpora that the rule names."""
        from windtunnel.pipelines.filters._measure import built

        inputs: dict[str, Step] = {}
        for spec in work.rules:
            rule: Any = built(spec)
            if not (corpora := getattr(rule, "corpora", None)):
                continue
            from windtunnel.pipelines.scorers.train_quality import TrainQuality

            here = ("corpora", name, "rules")
            for corpus in corpora.values():
                if corpus not in self.recipe.corpora:
                    raise at(here, f"no corpus is called {corpus!r}: {nearest(corpus, self.recipe.corpora)}")
                if corpus == name or name in self.recipe.ancestors(corpus):
                    raise at(here, f"the classifier of {name!r} cannot learn from {corpus!r}, which is made from it")
            roles = {role: self.corpus(corpus) for role, corpus in corpora.items()}
            inputs["quality"] = self.plan.add(StepName("quality", name), TrainQuality(**rule.training), roles)
        return inputs

    def _deduplicated(self, name: str, corpus: Corpus, view: View) -> View:
        for number, spec in enumerate(corpus.methods, start=1):
            method = make(Dedup, spec)
            label = name if number == 1 else f"{name}:{number}"
            decided = method.steps(self.plan.add, label, view.documents, view.decisions, view.measures)
            documents = decided if method.edits else view.documents  # methods that cut spans write the text anew
            view = View(documents, decided, (*view.measures, decided))  # its columns tell clusters, where it has any
        return view

    def _decontaminated(self, name: str, corpus: Corpus, view: View) -> View:
        if corpus.decontaminate is False:
            return view
        from windtunnel.pipelines.datasets.decontaminate import Decontamination
        from windtunnel.pipelines.rows.evaluations import evaluation_step

        settings, sets = corpus.decontamination
        # a `read:` step is enough: a corpus step would write the texts again, under a name that no corpus has
        evaluations = {key: evaluation_step(self.plan.add, source, name, key) for key, source in sets.items()}
        if self.recipe.held_out is not None:
            self._refuse_own_source(name)
            held_out = self.held_out()
            evaluations |= {HELD_OUT: held_out} if held_out is not None else {}
        if not evaluations:
            raise at(
                ("corpora", name, "decontaminate"),
                "there is nothing to decontaminate against: `held_out:` or `against:`",
            )
        method = Decontamination(**settings)
        decided = method.steps(self.plan.add, name, view.documents, view.decisions, evaluations)
        return replace(view, decisions=decided, documents=decided if method.edits else view.documents)

    def _refuse_own_source(self, name: str) -> None:
        """Raise RecipeError where the held-out set is drawn from a corpus that is to be cleared of it."""
        settings = self.recipe.held_out
        for source in settings.sets if settings is not None else []:
            if source == name or name in self.recipe.ancestors(source):
                raise at(
                    ("corpora", name, "decontaminate"),
                    f"the held-out set is drawn from {name!r}: decontaminate a corpus made from it instead",
                )


def ruled(
    plan: Plan,
    here: tuple[str, ...],
    name: str,
    rules: Sequence[Any],
    view: View,
    words: str = "fast",
    language: str = "en",
    trained: Callable[[str, Any], dict[str, Step]] | None = None,
) -> View:
    """Add the stages of rules, which a recipe has at the place `here`; `trained` adds what a rule scores with."""
    if not rules:
        return view
    from windtunnel.pipelines.filters._stages import stages

    numbers = {"measure": 0, "decide": 0, "edit": 0}
    with placing(*here, "rules"):
        chain = stages(list(rules), words, language, step=StepName("rules", name))
    for stage in chain:
        numbers[stage.kind] += 1
        inputs = view.inputs
        if stage.kind == "decide":
            inputs["measures"] = view.measures[-1]
            del inputs["documents"]
        elif stage.kind == "measure" and trained is not None:
            inputs |= trained(name, stage.work)
        number = numbers[stage.kind]
        step = plan.add(StepName(stage.kind, name, *([number] if number > 1 else [])), stage.work, inputs)
        if stage.kind == "measure":
            view = replace(view, measures=(*view.measures, step))
        elif stage.kind == "decide":
            view = replace(view, decisions=step)
        else:
            view = replace(view, documents=step)
    return view
