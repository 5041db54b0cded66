"""A model grades each answer separately by a rubric, with the scale in ascending and descending order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import field_validator

from windtunnel.generators.core.prompt import load, names
from windtunnel.generators.judges._judge import Example, Pair, Verdict
from windtunnel.generators.judges._labels import expectation, greater
from windtunnel.generators.judges._model_judge import ModelJudge, Question, Reply
from windtunnel.generators.judges._spoken import grade

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
        replies = self._grades([(p.prompt, text) for p in pairs for text in (p.response_a, p.response_b)])
        return [_verdict([*a, *b]) for a, b in zip(replies[::2], replies[1::2], strict=True)]

    def scores(self, answers: Sequence[tuple[str, str]]) -> list[float | str]:
        """Return a mean grade from 1 to 5 per (prompt, answer) over both scales, or an error code."""
        out: list[float | str] = []
        for replies in self._grades(answers):
            failed = next((reply.error for reply in replies if reply.probabilities is None), None)
            grades = [expectation(reply.probabilities) for reply in replies if reply.probabilities is not None]
            out.append(failed or sum(grades) / len(grades))
        return out

    def _grades(self, answers: Sequence[tuple[str, str]]) -> list[list[Reply]]:
        """Return, per answer, the probabilities over grades under each scale."""
        text, *meanings = load(f"judge/criterion_{self.criterion}").variants()
        levels = [(str(k + 1), meaning) for k, meaning in enumerate(meanings)]
        labels = [label for label, _ in levels]
        groups = []
        for prompt, answer in answers:
            shown = self.quoted(prompt=prompt, answer=answer)
            scales = [{**shown, "criterion": text, "levels": scale} for scale in (levels, levels[::-1])]
            groups.append([Question(*(load(FRAME).render(**s, reasoned=r) for r in (False, True))) for s in scales])
        return self.ask(groups, labels, lambda said: grade(said, labels))


def _verdict(replies: Sequence[Reply]) -> Verdict:
    """Return the verdict on answers a and b, from their grades under both scales: a, a, b, b."""
    mass = min((reply.mass for reply in replies if reply.mass is not None), default=None)
    if (failed := next((reply for reply in replies if reply.probabilities is None), None)) is not None:
        return Verdict(error=failed.error, detail=failed.detail, mass=mass)
    a, a_down, b, b_down = (reply.probabilities or {} for reply in replies)
    return Verdict(greater(a, b), greater(a_down, b_down), mass=mass)
