"""A recipe's list of rules as steps: measure, decide, and edit where a rule rewrites text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from blake3 import blake3
from pydantic import ValidationError

from windtunnel.pipelines.features.settings import Settings
from windtunnel.pipelines.filters._columns import check_rules
from windtunnel.pipelines.filters._decide import Decide
from windtunnel.pipelines.filters._edit import Edit
from windtunnel.pipelines.filters._measure import Measure
from windtunnel.pipelines.filters._rule import Rule, rules_of
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import full_spec, reference
from windtunnel.schemas.work import Work


class Stage(NamedTuple):
    """One step of a rules list.

    `kind` measure takes roles documents and decisions (if there are any yet); decide takes measures and decisions (if
    any); edit takes documents and decisions. Its artifact takes the place of the one it is named after: measures,
    decisions, or (edit) documents.
    """

    kind: Literal["measure", "decide", "edit"]
    work: Work


class Piece(NamedTuple):
    """Rules that are measured on the same text; the last one may rewrite it."""

    rules: tuple[tuple[str, Rule], ...]

    @property
    def editor(self) -> tuple[str, Rule] | None:
        """The rule that rewrites the text after this piece has decided, if there is one."""
        return self.rules[-1] if self.rules[-1][1].edits else None


def pieces(specs: Sequence[Any], words: str = "fast") -> list[Piece]:
    """Return the list of rules, as they are for one way to find words, cut after every rule that rewrites text."""
    groups: list[list[tuple[str, Rule]]] = [[]]
    for name, rule in rules_of(specs):
        groups[-1].append((name, rule.for_words(words)))
        if rule.edits:
            groups.append([])
    return [Piece(tuple(part)) for part in groups if part]


def shared_settings(rules: Sequence[tuple[str, Rule]], words: str, language: str) -> Settings:
    """Return the settings of the shared pass that a piece's rules ask for.

    Raises RecipeError when two rules of one piece ask for different ones.
    """

    asked: dict[str, tuple[Any, str]] = {}
    for name, rule in rules:
        for key, value in rule.settings().items():
            if key in asked and asked[key][0] != value:
                raise RecipeError(
                    f"rules {asked[key][1]!r} and {name!r} measure {key!r} differently ({asked[key][0]} and {value}): "
                    "put the second into a corpus of its own, made from this one"
                )
            asked[key] = (value, name)
    try:
        return Settings.model_validate({"words": words, "language": language, **{k: v for k, (v, _) in asked.items()}})
    except ValidationError as error:
        raise RecipeError(f"words: {error.errors()[0]['msg']}") from error


def own_measures(rules: Sequence[tuple[str, Rule]]) -> tuple[dict[str, Any], ...]:
    """Return the specs of the rules that have measurements of their own, thresholds left out, each once."""
    specs: dict[tuple[str, str], dict[str, Any]] = {}  # (reference, columns)
    for name, rule in rules:
        if not rule.measures:
            continue
        config = rule.measure_config()
        columns = canonical_json(config) if rule.repeatable else ""
        if specs.setdefault((reference(rule), columns), config) != config:
            raise RecipeError(
                f"rule {name!r} stands twice in one list and measures differently: make it two corpora, or name its "
                "columns by its parameters and set `repeatable = True` in its class"
            )
    return tuple({name: config} for (name, _), config in sorted(specs.items(), key=lambda item: item[0]))


def digests(rules: Sequence[tuple[str, Rule]]) -> dict[str, str]:
    """Return blake3 of every file that the rules' measurements read; raises InputError for one that is not there."""
    digests = {}
    for name, rule in rules:
        for path in rule.reads():
            if not path.is_file():
                raise InputError(f"rule {name!r} reads {path}, and there is no such file")
            digest = blake3(max_threads=blake3.AUTO).update_mmap(path)
            digests[str(path)] = digest.hexdigest()
    return dict(sorted(digests.items()))


def stages(specs: Sequence[Any], words: str = "fast", language: str = "en", step: str = "rules") -> list[Stage]:
    """Return the work of a recipe's `rules:` in order: measure, decide, and edit where a rule rewrites text.

    A threshold is part of the decide work only, so changing one runs no measurement again. `step` names the decisions
    (the first piece's step is `step`, later ones `step-2`, ...).
    """
    chain: list[Stage] = []
    for number, piece in enumerate(pieces(specs, words), start=1):
        check_rules([rule for _, rule in piece.rules])
        settings = shared_settings(piece.rules, words, language)
        measure = Measure(settings=settings, rules=own_measures(piece.rules), files=digests(piece.rules))
        chain.append(Stage("measure", measure))
        full = tuple(full_spec(rule) for _, rule in piece.rules)
        chain.append(Stage("decide", Decide(rules=full, step=step if number == 1 else f"{step}-{number}")))
        if piece.editor:
            chain.append(Stage("edit", Edit(rule=full_spec(piece.editor[1]))))
    return chain
