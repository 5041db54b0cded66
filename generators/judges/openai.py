"""A model at an OpenAI-compatible address compares both answers, once in each order."""

from __future__ import annotations

from collections.abc import Sequence

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.prompt import load
from windtunnel.generators.judges._judge import Example, Pair, Verdict
from windtunnel.generators.judges._model_judge import ModelJudge

LABELS = ("A", "B")
PROMPT = "judge/pairwise"
_AT = {"at": "model@http://127.0.0.1:1/v1"}


class Openai(ModelJudge):
    """Asks for one letter and reads its probability; `openai:MODEL@URL`."""

    prompts = (PROMPT,)
    examples = (
        Example(Pair("q", "good", "bad"), "a", _AT, ({"A": 0.9, "B": 0.1}, {"A": 0.2, "B": 0.8})),
        Example(Pair("q", "one", "two"), "tie", _AT, ({"A": 0.9, "B": 0.1},)),  # the first place wins in both orders
    )

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return verdicts from two requests per pair."""
        shown = [self._prompt(pair, swapped) for pair in pairs for swapped in (False, True)]
        replies = self.ask(shown, LABELS)
        return [_verdict(*both) for both in zip(replies[::2], replies[1::2], strict=True)]

    def _prompt(self, pair: Pair, swapped: bool) -> str:
        first, second = (pair.response_b, pair.response_a) if swapped else (pair.response_a, pair.response_b)
        return load(PROMPT).render(**self.quoted(prompt=pair.prompt, first=first, second=second))


def _verdict(*both: tuple[dict[str, float] | None, Completion]) -> Verdict:
    for probability, completion in both:
        if probability is None:
            return Verdict(error=completion.error or "no_label", detail=completion.detail or completion.text[:80])
    (ab, _), (ba, _) = both
    assert ab and ba
    return Verdict(ab["A"], ba["B"])
