"""Plans of UltraChat: the sector, the persona, and the subject or the passage that a request for openings is about."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Literal

from windtunnel.generators.core.origin import Origin, Record
from windtunnel.generators.core.session import Session
from windtunnel.generators.text import excerpts
from windtunnel.generators.text.topics import Topics

Sector = Literal["world", "creation", "material"]
GOLDEN = 0.6180339887498949  # steps of this length spread evenly over an interval, whatever their number
AHEAD = 64  # requests planned at once, so that their documents are read in one pass


class Plans:
    """Plans by number of the request; they depend on the seed and the number alone."""

    def __init__(self, session: Session, topics: Topics, sectors: Mapping[Sector, float], characters: int) -> None:
        self._session, self._topics, self._characters = session, topics, characters
        self._sectors: list[Sector] = list(sectors)
        self._edges = [edge / sum(sectors.values()) for edge in accumulate(sectors.values())]
        self._plans: dict[int, dict[str, Any]] = {}
        self._documents: dict[int, Record] = {}

    def of(self, number: int) -> tuple[dict[str, Any], list[Record | Origin]]:
        """Return the plan of a request and the parents of its openings.

        Openings about a document belong to it; others share the group of their request.
        """
        if number not in self._plans:
            self._look_ahead(range(number, number + AHEAD))
        group = f"{self._session.kind}:{self._session.seed}:{number}"
        return self._plans[number], [self._documents.get(number) or Origin((group,))]

    def _look_ahead(self, numbers: range) -> None:
        self._plans = {number: self._plan(number) for number in numbers}
        self._documents = {}
        askers: dict[int, list[int]] = {}
        for number, plan in self._plans.items():
            if "row" in plan:
                askers.setdefault(plan["row"], []).append(number)
        for row, document in self._session.inputs["documents"].pick(askers) if askers else ():
            for number in askers[row]:
                rng = self._session.random("passage", number)
                self._plans[number] |= excerpts.cut(document, self._characters, rng)
                self._documents[number] = document

    def _plan(self, number: int) -> dict[str, Any]:
        """Return sector, persona, and the subject or the row number of the document."""
        rng = self._session.random("plan", number)
        sector = self._sectors[min(bisect(self._edges, (number + 0.5) * GOLDEN % 1.0), len(self._edges) - 1)]
        plan: dict[str, Any] = {"sector": sector, "persona": rng.choice(self._topics.personas)}
        if sector == "material":
            row = rng.randrange(len(self._session.inputs["documents"]))
            return plan | {"hint": rng.choice(self._topics.material), "row": row}
        subjects = self._topics.world if sector == "world" else self._topics.creation
        subject = rng.choice(sorted(subjects))
        keys = ("topic", "subtopic") if sector == "world" else ("type", "detail")
        return plan | dict(zip(keys, (subject, rng.choice(subjects[subject])), strict=True))
