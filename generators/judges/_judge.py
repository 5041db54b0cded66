"""Judges: which of two answers is better, asked in both orders, with a probability and not only a word.

A judge is a plug-in of the folder `judges/`, written as `longest`, `openai:MODEL@URL` or `reward:DIR`. What it says in
one order is never enough: an answer that wins only when it stands first has not won, and the verdict is a tie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

from blake3 import blake3

from windtunnel.schemas import plugin
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.plugin import Plugin
from windtunnel.schemas.plugin_files import is_file_reference

Winner = Literal["a", "b", "tie"]


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt; `labels` are people's choices, `recorded` the probabilities (ab, ba) of a judge."""

    prompt: str
    response_a: str
    response_b: str
    labels: tuple[Winner, ...] = ()
    name: str = ""
    recorded: tuple[float, float] | None = None

    @cached_property
    def id(self) -> str:
        """The given name, or the content's hash."""
        content = canonical_json([self.prompt, self.response_a, self.response_b])
        return self.name or blake3(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class Verdict:
    """The probability that the answer named a is the better one: shown first (`ab`), and shown second (`ba`).

    `error` is None or says why there is no verdict: a code of `windtunnel.generators.client.faults`, or `no_label`.
    """

    ab: float = 0.5
    ba: float = 0.5
    error: str | None = None
    detail: str = ""

    @property
    def probability(self) -> float:
        """The mean of both orders: what the position adds in one it takes away in the other."""
        return (self.ab + self.ba) / 2

    @property
    def consistent(self) -> bool:
        """Whether both orders say the same."""
        return _side(self.ab) == _side(self.ba)

    @property
    def winner(self) -> Winner:
        """The answer that wins in both orders; else a tie."""
        return _side(self.ab) if self.consistent else "tie"


class Example(NamedTuple):
    """A pair and the answer that wins; `windtunnel check judge NAME` runs it.

    replies: for a judge that asks a model, the probabilities of labels per question, in order and then again.
    """

    pair: Pair
    winner: Winner
    params: Mapping[str, Any] = {}
    replies: tuple[Mapping[str, float], ...] = ()
    needs: str = ""  # a directory that the parameters name; without it the example is skipped

    @property
    def shown(self) -> str:
        """Both answers and the parameters."""
        params = f" with {dict(self.params)}" if self.params else ""
        return f"{self.pair.response_a!r} against {self.pair.response_b!r}{params}"


class Judge(Plugin):
    """Judges pairs. The parameters, and the prompt files a model judge names, decide its verdicts."""

    prompts: ClassVar[tuple[str, ...]] = ()
    examples: ClassVar[tuple[Example, ...]] = ()

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return the prompt files."""
        return {"prompts": list(cls.prompts)}

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return one verdict per pair, in order; a pair that cannot be judged is a verdict with an error."""
        raise NotImplementedError

    def fingerprint(self) -> dict[str, Any]:
        """Return what decides the verdicts beside the parameters: the class's version and its prompts' versions."""
        from windtunnel.generators.core.prompt import load

        return {"version": self.version, "prompts": {name: load(name).version for name in self.prompts}}


def make_judge(spec: str | dict[str, Any]) -> Judge:
    """Return the judge that a recipe or a command line names: `longest`, `openai:MODEL@URL`, {openai: {at: ...}}."""
    if isinstance(spec, str) and ":" in spec and not is_file_reference(spec):
        kind, _, value = spec.partition(":")
        spec = {kind: value}
    return plugin.make(Judge, spec)


def no_verdicts(verdicts: Sequence[Verdict]) -> WindtunnelError:
    """Return the error for a judge that decided nothing: how many pairs, the reasons with their counts, one detail."""
    counts = Counter(str(verdict.error) for verdict in verdicts)
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
    detail = next((verdict.detail for verdict in verdicts if verdict.detail), "")
    return WindtunnelError(f"the judge gave no verdict on any of {len(verdicts)} pairs: {reasons}. {detail}".rstrip())


def _side(probability: float) -> Winner:
    return "a" if probability > 0.5 else "b" if probability < 0.5 else "tie"
