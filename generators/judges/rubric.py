"""A model grades each answer separately by a rubric, with the scale in ascending and descending order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import field_validator

from windtunnel.generators.core.prompt import load, names
from windtunnel.generators.judges._judge import Example, Pair, Verdict
from windtunnel.generators.judges._labels import expectation, greater
from windtunnel.generators.judges._model_judge import ModelJudge

FRAME = "judge/rubric"
_AT = {"at": "model@http://127.0.0.1:1/v1"}


class Rubric(ModelJudge):
    """Grades 1 to 5 by `criterion`, a prompt file `judge/criterion_*`; `rubric:MODEL@URL`.

    Answers are not shown together, so there is no bias of position, but there may be one to the first end of the scale.
    So `ab` is the comparison under the ascending scale, `ba` under the descending one.
    """

    criterion: str = "quality"
    examples = (
        Example(Pair("q", "good", "bad"), "a", _AT, ({"5": 1.0}, {"4": 1.0}, {"1": 0.5, "2": 0.5}, {"2": 1.0})),
    )

    @field_validator("criterion")
    @classmethod
    def _is_there(cls, value: str) -> str:
        there = [name.removeprefix("judge/criterion_") for name in names() if name.startswith("judge/criterion_")]
        if value not in there:
            raise ValueError(f"there is {', '.join(there)}")
        return value

    def fingerprint(self) -> dict[str, Any]:
        """Return the versions of the class, the frame and the criterion."""
        used = (FRAME, f"judge/criterion_{self.criterion}")
        return {"version": self.version, "prompts": {name: load(name).version for name in used}}

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return verdicts from four requests per pair: two answers under two scales."""
        grades = self._grades([(p.prompt, text) for p in pairs for text in (p.response_a, p.response_b)])
        out = []
        for a, b in zip(grades[::2], grades[1::2], strict=True):
            missing = next((g for g in (*a, *b) if isinstance(g, str)), None)
            ab, ba = (0.5, 0.5) if missing else [greater(x, y) for x, y in zip(a, b, strict=True)]  # type: ignore[arg-type]
            out.append(Verdict(ab, ba, missing))
        return out

    def scores(self, answers: Sequence[tuple[str, str]]) -> list[float | str]:
        """Return a mean grade from 1 to 5 per (prompt, answer) over both scales, or an error code."""
        out: list[float | str] = []
        for grades in self._grades(answers):
            missing = next((g for g in grades if isinstance(g, str)), None)
            out.append(missing or sum(expectation(g) for g in grades if isinstance(g, dict)) / len(grades))
        return out

    def _grades(self, answers: Sequence[tuple[str, str]]) -> list[list[dict[str, float] | str]]:
        """Return, per answer, the probabilities over grades under each scale, or an error code."""
        text, *meanings = load(f"judge/criterion_{self.criterion}").variants()
        levels = [(str(k + 1), meaning) for k, meaning in enumerate(meanings)]
        shown = [
            load(FRAME).render(**self.quoted(prompt=prompt, answer=answer), criterion=text, levels=scale)
            for prompt, answer in answers
            for scale in (levels, levels[::-1])
        ]
        grades = [p or c.error or "no_label" for p, c in self.ask(shown, [label for label, _ in levels])]
        return [grades[k : k + 2] for k in range(0, len(grades), 2)]
