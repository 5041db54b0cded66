"""Follow instructions whose keeping code can check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from windtunnel.schemas.errors import RecipeError, nearest
from windtunnel.schemas.plugin import Plugin, errors_of, label, make, names
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.constraints._constraint import Constraint
from windtunnel.trainer.tasks._evaluation import Asker, Measured, Row, Text
from windtunnel.trainer.tasks._file_task import FileTask, text_of
from windtunnel.trainer.tasks._task import accepted


class Kept(NamedTuple):
    """Which constraints a reply keeps to, as it is and in the best of IFEval's variants of it."""

    strict: list[bool]
    loose: list[bool]


class Constraints(FileTask):
    """Prompts with constraints on the reply, checked by code as in IFEval (Zhou et al. 2023, arXiv 2311.07911).

    A line has `prompt` and `constraints`, a list of names and parameters: `[{words: {least: 100}}, no_comma]`;
    `windtunnel list constraint` names them. Scores of a prompt: `prompt_strict` (all constraints are kept, which runs
    are compared by) and `instruction_strict` (the share that is kept); `prompt_loose` and `instruction_loose` forgive a
    first or last line and Markdown's asterisks.
    """

    max_tokens: int = Field(256, ge=1)  # of the reply
    own: list[str] = Field(
        default_factory=list
    )  # constraints of one's own files, ./FILE.py:Class, named by their class

    likelihoods: ClassVar[bool] = False
    gives: ClassVar[str] = (
        '{"prompt": "Write about a mill, without commas.", "constraints": ["no_comma", {"words": {"least": 5}}]}\n'
        '{"question": "Name the river.", "constraints": [{"keywords": ["river"]}], "id": "river"}\n'
    )
    refuses: ClassVar[tuple[tuple[str, str], ...]] = (
        ('{"prompt": "Write.", "constraints": ["no_coma"]}', "line 1: no constraint is called 'no_coma': did you mean"),
        ('{"prompt": "Write.", "constraints": [{"words": {"at_least": 3}}]}', "has no parameter 'at_least'"),
        ('{"prompt": "Write.", "constraints": [{"words": {"least": -1}}]}', "parameter 'least'"),
        ('{"prompt": "Write.", "constraints": []}', "a list of constraints"),
        ('{"prompt": "Write.", "constraints": ["./evil.py:Evil"]}', "no constraint is called"),
        ('{"prompt": "Write.", "constraints": [["no_comma"]]}', "a constraint is written as"),
        ('{"prompt": 1, "constraints": ["no_comma"]}', "'prompt' must be a text"),
    )

    def nested(self) -> Iterator[Plugin]:
        yield from (make(Constraint, spec) for spec in self.own)  # type: ignore[misc]

    def parse(self, row: Mapping[str, Any]) -> tuple[str, list[Constraint]]:
        text, specs = text_of(row, "prompt", "question"), row.get("constraints")
        if not isinstance(specs, list) or not specs:
            raise ValueError(f"'constraints' must be a list of constraints, not {one_line(repr(specs), 60)}")
        return text, [self._constraint(spec) for spec in specs]

    def measure(self, documents: Callable[[], Iterable[Text]], asker: Asker) -> Measured:
        """Ask every prompt and check the replies; see Evaluation."""
        questions = self.questions()
        prompts = [question.text for question in questions]
        asked, dropped = accepted(self.title, asker, prompts, [""] * len(prompts), self.max_tokens)
        replies = asker.free_replies([prompts[k] for k in asked], self.max_tokens)
        rows = []
        for k, reply in zip(asked, replies, strict=True):
            found = kept(questions[k].about, reply)
            metrics = {"prompt_strict": float(all(found.strict)), "prompt_loose": float(all(found.loose))}
            metrics["instruction_strict"] = sum(found.strict) / len(found.strict)
            metrics["instruction_loose"] = sum(found.loose) / len(found.loose)
            strict = metrics["prompt_strict"]
            rows.append(Row(questions[k].id, prompts[k], "", reply, strict, questions[k].group, metrics=metrics))
        return Measured(rows, dropped)

    @cached_property
    def _own(self) -> dict[str, str]:
        return {label(part): spec for part, spec in zip(self.nested(), self.own, strict=True)}

    def _constraint(self, spec: Any) -> Constraint:
        """Return the constraint of a row, which is built in, installed or one of `own`: a row names no files."""
        name, parameters = (spec, {}) if isinstance(spec, str) else _one_pair(spec)
        known = {**{word: word for word in names("constraint")}, **self._own}
        if name not in known:
            raise ValueError(f"no constraint is called {one_line(name, 60)!r}: {nearest(name, known)}")
        try:
            return make(Constraint, {known[name]: parameters})  # type: ignore[type-abstract]
        except RecipeError as error:
            raise ValueError(str(error)) from error


def kept(constraints: Iterable[Constraint], reply: str) -> Kept:
    """Return which constraints a reply keeps to; a blank reply keeps to none."""
    lines = reply.split("\n")
    cut = [reply, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    variants = [text for text in dict.fromkeys([*cut, *(text.replace("*", "") for text in cut)]) if text.strip()]
    strict, loose = [], []
    for constraint in constraints:
        with errors_of(constraint, "`holds`"):
            found = [bool(constraint.holds(text)) for text in variants]
        strict.append(bool(reply.strip()) and found[0])
        loose.append(any(found))
    return Kept(strict, loose)


def _one_pair(spec: Any) -> tuple[str, Any]:
    if not isinstance(spec, dict) or len(spec) != 1:
        raise ValueError(
            f"a constraint is written as a name or as {{name: parameters}}, not {one_line(repr(spec), 60)}"
        )
    ((name, parameters),) = spec.items()
    return str(name), {} if parameters is None else parameters
