"""A model at an OpenAI-compatible address compares both answers, once in each order."""

from __future__ import annotations

from collections.abc import Sequence

from windtunnel.generators.core.prompt import load
from windtunnel.generators.judges._judge import Example, Pair, Verdict
from windtunnel.generators.judges._model_judge import ModelJudge, Question, Reply
from windtunnel.generators.judges._spoken import verdict

LABELS = ("A", "B")
PROMPT = "judge/pairwise"
_AT = {"at": "model@http://127.0.0.1:1/v1"}


class Openai(ModelJudge):
    """Asks for one letter and reads its probability, or for a verdict after reasoning; `openai:MODEL@URL`."""

    prompts = (PROMPT,)
    examples = (
        Example(Pair("q", "good", "bad"), "a", _AT, ({"A": 0.9, "B": 0.1}, {"A": 0.2, "B": 0.8})),
        Example(Pair("q", "one", "two"), "tie", _AT, ({"A": 0.9, "B": 0.1},)),  # the first place wins in both orders
    )

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return verdicts from two requests per pair, and two more where log probabilities give none."""
        groups = [[self._question(pair, swapped) for swapped in (False, True)] for pair in pairs]
        return [_verdict(*replies) for replies in self.ask(groups, LABELS, verdict)]

    def _question(self, pair: Pair, swapped: bool) -> Question:
        first, second = (pair.response_b, pair.response_a) if swapped else (pair.response_a, pair.response_b)
        shown = self.quoted(prompt=pair.prompt, first=first, second=second)
        return Question(*(load(PROMPT).render(**shown, reasoned=reasoned) for reasoned in (False, True)))


def _verdict(first: Reply, second: Reply) -> Verdict:
    held = [reply.mass for reply in (first, second) if reply.mass is not None]
    mass = min(held, default=None)
    ab, ba = first.probabilities, second.probabilities
    if ab is None or ba is None:
        failed = first if ab is None else second
        return Verdict(error=failed.error, detail=failed.detail, mass=mass)
    return Verdict(ab["A"], ba["B"], mass=mass)
