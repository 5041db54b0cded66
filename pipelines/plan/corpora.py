"""The part of a plan that makes corpora and the held-out set: read, rules, dedup, decontamination."""

from __future__ import annotations

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


@dataclass(frozen=True)
class View:
    """Where a corpus stands: its documents, what was decided of them so far, and what was measured."""

    documents: Step
    decisions: Step | None = None
    measures: tuple[Step, ...] = ()


class Texts:
    """Adds the recipe's corpora and its held-out set to a plan, each once and after what it is made from."""

    def __init__(self, made: Plan) -> None:
        self.made = made
        self.views: dict[str, View] = {}
        self.corpora: dict[str, Step] = {}
        self._held_out: Step | None = None

    def all(self) -> dict[str, Step]:
        """Return the `corpus:` steps by name, in the order of the recipe."""
        for name in self.made.recipe.corpora:
            self.corpus(name)
        return {name: self.corpora[name] for name in self.made.recipe.corpora}

    def corpus(self, name: str) -> Step:
        """Return the step that holds a corpus's kept and dropped documents."""
        if name not in self.corpora:
            from windtunnel.pipelines.datasets.corpus import Corpus as CorpusWork

            view = self.views[name] = self._view(name, self.made.recipe.corpora[name])
            inputs = {"documents": view.documents} | ({"decisions": view.decisions} if view.decisions else {})
            inputs |= {f"measures{i}": step for i, step in enumerate(view.measures, start=1)}
            self.corpora[name] = self.made.add(f"corpus:{name}", CorpusWork(), inputs)
            if view.measures:
                from windtunnel.pipelines.datasets.stats import Statistics

                self.made.add(f"stats:{name}", Statistics(), {"corpus": self.corpora[name]})
        return self.corpora[name]

    def held_out(self) -> Step | None:
        """Return the step of the frozen evaluation documents; None when the recipe has none made of documents."""
        wanted = self.made.recipe.held_out
        if wanted is None or any(name in self.made.recipe.generate for name in wanted.sets):
            return None
        if self._held_out is None:
            from windtunnel.pipelines.datasets.held_out import HeldOut

            fields = wanted.model_dump(exclude={"from_", "files"}, exclude_none=True)
            if wanted.files is not None:
                fields["share"] = 1.0
                with placing("held_out", "files"):
                    source = self._whole("held_out", wanted.files)
            else:
                source = self.corpus(wanted.sets[0])
            self._held_out = self.made.add("held_out", HeldOut(**fields), {"corpus": source})
        return self._held_out

    def _whole(self, name: str, source: Any) -> Step:
        """Add a source that no rule touches, as a corpus."""
        from windtunnel.pipelines.datasets.corpus import Corpus as CorpusWork
        from windtunnel.pipelines.sources._read import read_work

        files = self.made.add(f"read:{name}", read_work(source))
        return self.made.add(f"corpus:{name}", CorpusWork(), {"documents": files})

    def _view(self, name: str, corpus: Corpus) -> View:
        for parent in corpus.parents:
            self.corpus(parent)
        if len(corpus.parents) == 1:
            view = self.views[corpus.parents[0]]
        elif corpus.parents:
            from windtunnel.pipelines.datasets.union import Union

            parents = {f"corpus:{parent}": self.corpora[parent] for parent in corpus.parents}
            order = () if list(parents) == sorted(parents) else tuple(parents)
            view = View(self.made.add(f"union:{name}", Union(order=order), parents))
        else:
            from windtunnel.pipelines.sources._read import read_work

            with placing("corpora", name, "source"):
                view = View(self.made.add(f"read:{name}", read_work(corpus.source)))
        return self._decontaminated(name, corpus, self._deduplicated(name, corpus, self._ruled(name, corpus, view)))

    def _ruled(self, name: str, corpus: Corpus, view: View) -> View:
        if not corpus.rules:
            return view
        from windtunnel.pipelines.filters._stages import stages

        numbers = {"measure": 0, "decide": 0, "edit": 0}
        with placing("corpora", name, "rules"):
            chain = stages(corpus.rules, corpus.words, corpus.language or "en", step=f"rules:{name}")
        for stage in chain:
            numbers[stage.kind] += 1
            suffix = "" if numbers[stage.kind] == 1 else f":{numbers[stage.kind]}"
            inputs = {"measures": view.measures[-1]} if stage.kind == "decide" else {"documents": view.documents}
            if view.decisions is not None:
                inputs["decisions"] = view.decisions
            if stage.kind == "measure":
                inputs |= self._trained(name, stage.work)
            step = self.made.add(f"{stage.kind}:{name}{suffix}", stage.work, inputs)
            if stage.kind == "measure":
                view = replace(view, measures=(*view.measures, step))
            elif stage.kind == "decide":
                view = replace(view, decisions=step)
            else:
                view = replace(view, documents=step)
        return view

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
                if corpus not in self.made.recipe.corpora:
                    raise at(here, f"no corpus is called {corpus!r}: {nearest(corpus, self.made.recipe.corpora)}")
                if corpus == name or name in _ancestors(self.made, corpus):
                    raise at(here, f"the classifier of {name!r} cannot learn from {corpus!r}, which is made from it")
            roles = {role: self.corpus(corpus) for role, corpus in corpora.items()}
            inputs["quality"] = self.made.add(f"quality:{name}", TrainQuality(**rule.training), roles)
        return inputs

    def _deduplicated(self, name: str, corpus: Corpus, view: View) -> View:
        methods = corpus.dedup if isinstance(corpus.dedup, list) else [corpus.dedup] if corpus.dedup else []
        for number, spec in enumerate(methods, start=1):
            method = make(Dedup, spec)
            label = name if number == 1 else f"{name}:{number}"
            decided = method.steps(self.made.add, label, view.documents, view.decisions, view.measures)
            documents = decided if method.edits else view.documents  # methods that cut spans write the text anew
            view = View(documents, decided, (*view.measures, decided))  # its columns tell clusters, where it has any
        return view

    def _decontaminated(self, name: str, corpus: Corpus, view: View) -> View:
        if corpus.decontaminate is False:
            return view
        from windtunnel.pipelines.datasets.decontaminate import Decontamination
        from windtunnel.pipelines.sources._read import read_work

        words = {} if corpus.decontaminate is True else dict(corpus.decontaminate)
        sets = words.pop("against", {})
        # the step that reads is enough: a corpus step would write the texts again, under a name that no corpus has
        evaluations = {key: self.made.add(f"read:{name}:{key}", read_work(source)) for key, source in sets.items()}
        if self.made.recipe.held_out is not None:
            self._refuse_own_source(name)
            held_out = self.held_out()
            evaluations |= {HELD_OUT: held_out} if held_out is not None else {}
        if not evaluations:
            raise at(
                ("corpora", name, "decontaminate"),
                "there is nothing to decontaminate against: `held_out:` or `against:`",
            )
        how = Decontamination(**words)
        decided = how.steps(self.made.add, name, view.documents, view.decisions, evaluations)
        return replace(view, decisions=decided, documents=decided if how.edits else view.documents)

    def _refuse_own_source(self, name: str) -> None:
        """A corpus that the held-out set is drawn from cannot be cleared of it before it is drawn."""
        wanted = self.made.recipe.held_out
        for source in wanted.sets if wanted is not None else []:
            if source == name or name in _ancestors(self.made, source):
                raise at(
                    ("corpora", name, "decontaminate"),
                    f"the held-out set is drawn from {name!r}: decontaminate a corpus made from it instead",
                )


def _ancestors(made: Plan, name: str) -> set[str]:
    """Return the corpora that a corpus is made from, directly or not."""
    found: set[str] = set()
    todo = list(made.recipe.corpora[name].parents)
    while todo:
        parent = todo.pop()
        if parent not in found:
            found.add(parent)
            todo.extend(made.recipe.corpora[parent].parents)
    return found
