"""Base class of judges, which compare two answers in both orders and give probabilities.

A judge is a plug-in of the folder `judges/`, written as `longest`, `openai:MODEL@URL` or `reward:DIR`. An answer that
wins in one order only has not won: the verdict is a tie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

from blake3 import blake3

from windtunnel.generators.core.prompt import load
from windtunnel.schemas import plugin
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.plugin import Plugin
from windtunnel.schemas.plugin_files import is_file_reference

Winner = Literal["a", "b", "tie"]


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, with labels of people and the recorded probabilities (ab, ba) of a judge, if any.

    `subset` is the part of a set that the pair belongs to. Pairs of one `row` compare its right answers, of which this
    is the one with number `chosen`, with its wrong ones.
    """

    prompt: str
    response_a: str
    response_b: str
    labels: tuple[Winner, ...] = ()
    name: str = ""
    recorded: tuple[float, float] | None = None
    subset: str = ""
    row: str = ""
    chosen: int = 0

    @cached_property
    def id(self) -> str:
        """The given name, or the hash of the content."""
        content = canonical_json([self.prompt, self.response_a, self.response_b])
        return self.name or blake3(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class Verdict:
    """The probability that the answer named a is better, shown first (`ab`) and shown second (`ba`).

    `error` is None, a code of `windtunnel.generators.client.faults`, or `no_label`. `mass` is the probability that the
    labels held, the least of all replies; None for a verdict that is not read from probabilities.
    """

    ab: float = 0.5
    ba: float = 0.5
    error: str | None = None
    detail: str = ""
    mass: float | None = None

    @property
    def probability(self) -> float:
        """The mean of both orders, in which an additive effect of the position cancels."""
        return (self.ab + self.ba) / 2

    @property
    def consistent(self) -> bool:
        """Whether both orders have the same winner."""
        return _side(self.ab) == _side(self.ba)

    @property
    def winner(self) -> Winner:
        """The answer that wins in both orders, else a tie."""
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
    """Judges pairs. Its parameters and prompt files decide its verdicts."""

    prompts: ClassVar[tuple[str, ...]] = ()
    examples: ClassVar[tuple[Example, ...]] = ()

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return the prompt files."""
        return {"prompts": list(cls.prompts)}

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return one verdict per pair, in order; one with an error for a pair that cannot be judged."""
        raise NotImplementedError

    def fingerprint(self) -> dict[str, Any]:
        """Return what decides the verdicts besides the parameters: the versions of the class and of its prompts."""
        return {"version": self.version, "prompts": {name: load(name).version for name in self.prompts}}


def make_judge(spec: str | dict[str, Any]) -> Judge:
    """Return the judge of a recipe or a command line: `longest`, `openai:MODEL@URL`, {openai: {at: ...}}."""
    if isinstance(spec, str) and ":" in spec and not is_file_reference(spec):
        kind, _, value = spec.partition(":")
        spec = {kind: value}
    return plugin.make(Judge, spec)


def no_verdicts(verdicts: Sequence[Verdict]) -> WindtunnelError:
    """Return the error for a judge without any verdict: the number of pairs, the reasons with counts, one detail."""
    counts = Counter(str(verdict.error) for verdict in verdicts)
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
    detail = next((verdict.detail for verdict in verdicts if verdict.detail), "")
    return WindtunnelError(f"the judge gave no verdict on any of {len(verdicts)} pairs: {reasons}. {detail}".rstrip())


def _side(probability: float) -> Winner:
    return "a" if probability > 0.5 else "b" if probability < 0.5 else "tie"
