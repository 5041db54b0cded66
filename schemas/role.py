"""Names of steps and of their inputs: a kind and further names, `train:web:0` or `tokens:web` in manifests and JSON."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Self, TypeVar

T = TypeVar("T")
BOTH = "+"  # between mix and variant in the name of a run; no other name has it
_KIND = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class _Compound(str):
    """A kind and further names. It is its own text, so it serves as a key where the text does."""

    __slots__ = ()

    def __new__(cls, kind: str, *names: str | int) -> Self:
        """Join the parts. Raises ValueError for a kind that is no word, and for a name that is empty or has a colon."""
        parts = [kind, *map(str, names)]
        text = ":".join(parts)
        if not _KIND.fullmatch(kind):
            raise ValueError(f"{text!r} has no kind: a word of letters, digits, '_', '-' and '.'")
        for name in parts[1:]:
            if not name or ":" in name:
                raise ValueError(f"{name!r} in {text!r} is not a name: names are not empty and have no colon")
        return super().__new__(cls, text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the object of a text; raises ValueError for any text that `str` does not give."""
        return text if isinstance(text, cls) else cls(*text.split(":"))

    def __getnewargs__(self) -> tuple[str, ...]:
        return (self.kind, *self.names)

    @property
    def kind(self) -> str:
        """The first part."""
        return self.split(":")[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The parts after the kind."""
        return tuple(self.split(":")[1:])


class Role(_Compound):
    """The role of an input: `corpus`, `tokens:CORPUS`, `rows:SET`, `run:MIX:SEED`, `measures1`."""

    __slots__ = ()


class StepName(_Compound):
    """The name of a step, unique in its plan: `compare`, `corpus:NAME`, `decide:NAME:2`, `train:MIX:SEED`."""

    __slots__ = ()

    @property
    def what(self) -> str:
        """The names as one text, to be shown; empty when there is only a kind."""
        return self.partition(":")[2]

    def directory(self, key: str) -> str:
        """Return the name of the step's artifact directory, for its content key."""
        return f"{self.replace(':', '.')}-{key[:8]}"

    def within(self, selector: str) -> bool:
        """Return whether a selector names this step, its kind, or the beginning of its names (`train:web`)."""
        return self == selector or self.startswith(f"{selector}:")


def name_in_directory(directory: str) -> str:
    """Return NAME of the artifact directory of a step `KIND:NAME`, which is called `KIND.NAME-KEY`; else ''."""
    return directory.rpartition("-")[0].partition(".")[2]


def of_kind(inputs: Mapping[str, T], kind: str) -> dict[Role, T]:
    """Return the inputs whose role is of a kind, in their order."""
    roles = {Role.parse(role): value for role, value in inputs.items()}
    return {role: value for role, value in roles.items() if role.kind == kind}


def by_name(inputs: Mapping[str, T], kind: str) -> dict[str, T]:
    """Return the inputs of the roles `KIND:NAME` by name, in their order."""
    return {role.names[0]: value for role, value in of_kind(inputs, kind).items() if len(role.names) == 1}


def runs(inputs: Mapping[str, T]) -> dict[tuple[str, str], T]:
    """Return the inputs of the roles `run:MIX:SEED` by mix and seed, in their order."""
    return {(mix, seed): value for role, value in of_kind(inputs, "run").items() for mix, seed in [role.names]}


def numbered(kind: str, values: Iterable[T]) -> dict[str, T]:
    """Return values under the roles `KIND1`, `KIND2`, ..."""
    return {Role(f"{kind}{number}"): value for number, value in enumerate(values, start=1)}


def in_number_order(inputs: Mapping[str, T], kind: str) -> list[T]:
    """Return the inputs of the roles `KIND`, `KIND1`, `KIND2`, ... by number, one without a number first.

    Raises ValueError for another role that begins with the kind: it would be left out without a word.
    """
    roles = [role for role in inputs if role.startswith(kind)]
    if other := [role for role in roles if not re.fullmatch(rf"{kind}\d*", role)]:
        raise ValueError(f"role {other[0]!r} is neither {kind!r} nor {kind!r} with a number")
    return [inputs[role] for role in sorted(roles, key=lambda role: int(role.removeprefix(kind) or 0))]


def word_for(mixes: Collection[str], variants: Collection[str]) -> str:
    """Return what the runs that a recipe compares are called, by what they differ in."""
    return "mix" if not variants else "variant" if len(mixes) < 2 else "training"


def run_names(mixes: Collection[str], variants: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return the mix and the variant of every run by its name; the one variant '' is a training without variants.

    A run is called by its mix where there are no variants, by its variant where there is one mix, else by both.
    """
    named = [name for name in variants if name]
    if not named:
        return {mix: (mix, "") for mix in mixes if variants}
    alone = len(mixes) == 1
    return {name if alone else f"{mix}{BOTH}{name}": (mix, name) for mix in mixes for name in named}
