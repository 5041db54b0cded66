"""Checks a judge by its examples: pairs in, winners out; a judge that asks a model gets scripted answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from windtunnel.generators.judges._judge import Example, Judge
from windtunnel.generators.judges._model_judge import ModelJudge, Question, Reply
from windtunnel.schemas.finding import Finding, differs, finding


def check(cls: type[Judge]) -> Iterator[Finding]:
    """Yield the outcome of every example."""
    if not cls.examples:
        yield Finding("examples", "no example of a pair and its winner")
    for example in cls.examples:
        yield finding(f"{example.winner} wins {example.shown}", lambda e=example: _judged(cls, e), example.needs)


def _judged(cls: type[Judge], example: Example) -> str | None:
    judge = _scripted(cls, example)(**example.params)
    if judge.verdicts([]):
        return "verdicts on no pairs"
    verdicts = judge.verdicts([example.pair, example.pair])
    if len(verdicts) != 2 or verdicts[0] != verdicts[1]:
        return f"two equal pairs get {verdicts}"
    verdict = verdicts[0]
    if verdict.error:
        return f"no verdict: {verdict.error} {verdict.detail}"
    if not (0 <= verdict.ab <= 1 and 0 <= verdict.ba <= 1):
        return f"a probability lies outside of 0 and 1: {verdict}"
    return differs(example.winner, verdict.winner)


def _scripted(cls: type[Judge], example: Example) -> type[Judge]:
    """Return the class; of one that asks a model, a subclass that is answered by the example's replies in turn."""
    if not issubclass(cls, ModelJudge):
        return cls

    def ask(
        self: ModelJudge, groups: Sequence[Sequence[Question]], labels: Sequence[str], parse: object
    ) -> list[list[Reply]]:
        number = 0
        out = []
        for group in groups:
            replies = [example.replies[(number + k) % len(example.replies)] for k in range(len(group))]
            number += len(group)
            if unknown := next((reply for reply in replies if set(reply) - set(labels)), None):
                raise ValueError(f"a reply of the example has other labels than {', '.join(labels)}: {dict(unknown)}")
            out.append([Reply(dict(reply)) for reply in replies])
        return out

    return type(cls.__name__, (cls,), {"ask": ask, "__module__": cls.__module__})
