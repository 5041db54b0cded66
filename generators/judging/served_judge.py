"""The judge of a recipe: the pairwise judge on one of its models, and its identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from windtunnel.generators.client.budget import Budget
from windtunnel.generators.judges.openai import Openai
from windtunnel.generators.serving.served import Served, opened
from windtunnel.schemas.artifact import Artifact

MOST_CHARACTERS = 2000  # of an answer, the same limit for both


@contextmanager
def opened_judge(
    judge: Mapping[str, Served], inputs: Mapping[str, Artifact], completions: str | None, budget: Budget | None = None
) -> Iterator[Openai]:
    """Yield the judge on the one model of `judge`; its server runs as long as the block."""
    (served,) = judge.values()
    with opened(judge, inputs) as (endpoint,):
        about = {"verdict": served.verdict, "completions": completions, "budget": budget}
        yield Openai.of(endpoint, most_characters=MOST_CHARACTERS, **about)


def judge_identity(judge: Mapping[str, Served]) -> dict[str, object]:
    """Return what decides the verdicts, for a step's key: the model and the prompts, not the address."""
    asks = Openai(at="any@http://where").fingerprint()  # the address is not part of it
    models = {name: served.identity() for name, served in judge.items()}
    how = {name: served.verdict for name, served in judge.items() if served.verdict != "auto"}
    said: dict[str, object] = {"verdict": how} if how else {}
    return {"judge": models, "asks": asks, "most_characters": MOST_CHARACTERS} | said
