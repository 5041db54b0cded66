"""Origins: the groups and licences that a generated row inherits from what it is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from windtunnel.generators.text.groups import groups_of, licences_of, text_group


@dataclass(frozen=True)
class Origin:
    """Groups and licences of one parent; a licence that is not known is None."""

    groups: tuple[str, ...]
    licences: tuple[str | None, ...] = ()

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Return the origin of rows that share an instruction which a model wrote."""
        return cls((text_group(text),))

    @classmethod
    def union(cls, origins: Iterable[Origin]) -> Self:
        """Return all groups and all licences of several parents, sorted, each once."""
        parts = list(origins)
        licences = {licence for part in parts for licence in part.licences}
        return cls(
            tuple(sorted({group for part in parts for group in part.groups})),
            tuple(sorted(licences, key=lambda licence: (licence is None, licence))),
        )

    def facts(self) -> dict[str, Any]:
        """Return `group` and `licence` for a lineage: the value, a list where there are several, None for none."""
        return {"group": _one_or_all(self.groups), "licence": _one_or_all(self.licences)}


class Record(dict[str, Any]):
    """A row of an input, with its number there and its origin.

    `known` holds licences by `source`, for rows that do not state one.
    """

    def __init__(self, row: Mapping[str, Any], number: int, known: Mapping[str, str] | None = None) -> None:
        super().__init__(row)
        self.number = number
        self.role = ""  # set when a session hands the record out as an attempt
        self._known = known or {}

    @cached_property
    def origin(self) -> Origin:
        """The groups of the row and its licences: as stated, else the licence of its source."""
        licences = licences_of(self)
        if licences == (None,):
            licences = (self._known.get(str(self.get("source", ""))),)
        return Origin(groups_of(self), licences)

    def rewritten(self, messages: Sequence[Mapping[str, str]]) -> Record:
        """Return the same record with cleaned messages.

        Both have one origin: where the row states no group, that of the cleaned question, unless `origin` was used
        before.
        """
        record = Record({**self, "messages": messages}, self.number, self._known)
        record.role = self.role
        record.__dict__["origin"] = self.__dict__.setdefault("origin", record.origin)
        return record


def _one_or_all(values: Sequence[Any]) -> Any:
    return list(values) if len(values) > 1 else values[0] if values else None
