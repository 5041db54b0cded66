"""Base class of judges that ask a model: the address, the client, the two ways to a verdict and the store."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, field_validator

from windtunnel.generators.client.address import without_secrets
from windtunnel.generators.client.budget import Budget
from windtunnel.generators.client.client import Client
from windtunnel.generators.client.completion import Completion, Request
from windtunnel.generators.client.endpoint import Endpoint
from windtunnel.generators.client.parameters import checked_parameters
from windtunnel.generators.judges._judge import Judge
from windtunnel.generators.judges._labels import masses, probabilities
from windtunnel.generators.judges._spoken import TIE
from windtunnel.generators.text.quoted import cut, defused, mark
from windtunnel.schemas.spending import Spending

KEY_VARIABLE = "WINDTUNNEL_JUDGE_KEY"
HOPELESS = ("context_too_long", "filtered")  # the text is refused, however it is asked about
_AT = re.compile(r"(?P<model>.+?)@(?P<url>https?://\S+)")


@dataclass(frozen=True)
class Reply:
    """What a model says on one question: probabilities by label, or None with the reason.

    `mass` is the probability that the labels held before they were scaled to 1; None for a verdict that was parsed.
    """

    probabilities: Mapping[str, float] | None
    error: str | None = None
    detail: str = ""
    mass: float | None = None


@dataclass(frozen=True)
class Question:
    """One comparison as a prompt for a bare label, and as one that leaves room to reason first."""

    bare: str
    reasoned: str


class ModelJudge(Judge):
    """A judge at an OpenAI-compatible address, `at` = MODEL@URL, with its key in the variable `key_variable`.

    The default variable is WINDTUNNEL_JUDGE_KEY, if it is set, so that no key for another address is sent.
    `verdict: logprobs` reads the probabilities of labels as the first token, and gives no verdict where they hold less
    than half; `parsed` lets the model reason in up to `reasoning_tokens` and reads the verdict that it ends with;
    `auto` parses where log probabilities are missing or say too little. `parameters` are further fields of requests.

    `completions` is a file that stores the completions. `most_characters` cuts long answers, both at the same length.
    `dialect: vllm` restricts the reply to labels, so that all probability is on them. `special_tokens` are those of the
    model's tokenizer; texts that are judged are shown without them and without those of common chat templates.
    """

    version: ClassVar[int] = 3
    primary: ClassVar[str | None] = "at"
    at: str
    name: str = "judge"  # of the model, in counts of what it cost
    revision: str = ""
    key_variable: str | None = None
    dialect: str = Field(default="openai", pattern="^(openai|vllm)$")
    verdict: Literal["auto", "logprobs", "parsed"] = "auto"
    reasoning_tokens: int = Field(default=2048, gt=0)
    temperature: float = Field(default=0.6, ge=0)  # of reasoning; a bare label is asked for at 0
    parameters: Annotated[dict[str, Any], AfterValidator(checked_parameters)] = Field(default_factory=dict)
    price: tuple[float, float] = (0.0, 0.0)
    completions: str | None = None
    budget: Budget | None = None
    concurrency: int = Field(default=64, gt=0)
    most_characters: int | None = Field(default=None, gt=0)
    special_tokens: tuple[str, ...] = ()
    _spending: Spending = PrivateAttr(default_factory=Spending)
    alternatives: int = Field(default=20, gt=0)  # the most that servers report per token

    @field_validator("at")
    @classmethod
    def _is_model_at_url(cls, value: str) -> str:
        match = _AT.fullmatch(value)
        if match is None:
            raise ValueError("write MODEL@URL, for example smollm2@http://127.0.0.1:8000/v1")
        without_secrets(match["url"])
        return value

    @classmethod
    def of(cls, endpoint: Endpoint, **params: Any) -> Self:
        """Return the judge on the model of an endpoint."""
        names = ("revision", "key_variable", "dialect", "special_tokens", "parameters", "price")
        about = {name: getattr(endpoint, name) for name in names}
        return cls(at=f"{endpoint.model}@{endpoint.url}", name=endpoint.name, **about, **params)

    def endpoint(self) -> Endpoint:
        """Return the endpoint of the model."""
        match = _AT.fullmatch(self.at)
        assert match
        variable = self.key_variable or (KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else None)
        about = {name: getattr(self, name) for name in ("revision", "dialect", "parameters", "price")}
        return Endpoint(match["url"], match["model"], key_variable=variable, **about)

    def ask(
        self, groups: Sequence[Sequence[Question]], labels: Sequence[str], parse: Callable[[str], str | None]
    ) -> list[list[Reply]]:
        """Return one reply per question, in order; `parse` reads the label that a text states, or `tie` or None.

        The questions of a group are read in one way, all by log probabilities or all parsed. Raises WindtunnelError for
        a transient failure, on which no verdict may depend.
        """
        with Client(self.endpoint(), self.completions, self.concurrency, budget=self.budget) as client:
            replies: list[list[Reply]] = [[] for _ in groups]
            if self.verdict != "parsed":
                replies = self._by_logprobs(client, groups, labels)
            if self.verdict != "logprobs":
                again = [k for k, group in enumerate(replies) if not group or any(map(_unclear, group))]
                for k, group in zip(
                    again, self._parsed(client, [groups[k] for k in again], labels, parse), strict=True
                ):
                    replies[k] = group
        return replies

    def _by_logprobs(
        self, client: Client, groups: Sequence[Sequence[Question]], labels: Sequence[str]
    ) -> list[list[Reply]]:
        """Return replies by log probabilities; empty lists when the server reports none and `auto` has another way.

        Whether it reports any is decided by the first requests that it answers, so that the others are not paid twice.
        """
        replies: list[list[Reply]] = []
        answered = self.verdict == "logprobs"
        while len(replies) < len(groups):
            part = groups[len(replies) :] if answered else groups[len(replies) : 2 * len(replies) + 1]
            requests = [self._request(question.bare, labels) for group in part for question in group]
            completions = iter(self._heard(client, requests, "label"))
            heard = [[next(completions) for _ in group] for group in part]
            replies += [[_weighed(completion, labels) for completion in group] for group in heard]
            if not answered and any(completion.ok for group in heard for completion in group):
                if not any(completion.logprobs for group in heard for completion in group):
                    return [[] for _ in groups]
                answered = True
        return replies

    def _parsed(
        self, client: Client, groups: Sequence[Sequence[Question]], labels: Sequence[str],
        parse: Callable[[str], str | None],
    ) -> list[list[Reply]]:  # fmt: skip
        params: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.reasoning_tokens}
        requests = [Request((_user(question.reasoned),), **params) for group in groups for question in group]
        completions = iter(self._heard(client, requests, "verdict"))
        return [[_read(next(completions), labels, parse) for _ in group] for group in groups]

    def _heard(self, client: Client, requests: Sequence[Request], purpose: str) -> list[Completion]:
        completions = [completion.settled() for completion in client.complete(requests)]
        for completion in completions:
            self._spending.add(self.name, purpose, completion.prompt_tokens, completion.completion_tokens)
        return completions

    def spent(self) -> dict[str, float | int | str]:
        """Return what all verdicts so far cost, as notes of a step's counts."""
        return self._spending.notes({self.name: self.price})

    def quoted(self, **texts: str) -> dict[str, Any]:
        """Return the texts as a prompt shows them, and the mark that delimits them."""
        safe = {name: cut(defused(text, self.special_tokens), self.most_characters) for name, text in texts.items()}
        return {**safe, "mark": mark(list(safe.values()))}

    def _request(self, prompt: str, labels: Sequence[str]) -> Request:
        extra: Mapping[str, Any] = {"structured_outputs": {"choice": list(labels)}} if self.dialect == "vllm" else {}
        return Request((_user(prompt),), temperature=0.0, max_tokens=1, logprobs=self.alternatives, extra=extra)


def _user(prompt: str) -> dict[str, str]:
    return {"role": "user", "content": prompt}  # no system turn: some chat templates refuse one


def _unclear(reply: Reply) -> bool:
    return reply.probabilities is None and reply.error not in HOPELESS


def _weighed(completion: Completion, labels: Sequence[str]) -> Reply:
    """Return the reply that log probabilities give."""
    if not completion.ok:
        return Reply(None, completion.error, completion.detail)
    mass = masses(completion, labels)
    said = probabilities(mass)
    if said is not None:
        return Reply(said, mass=min(sum(mass.values()), 1.0))
    held = f"the labels hold {sum(mass.values()):.2g}" if completion.logprobs else "no log probabilities"
    return Reply(None, "no_label", f"{held}; {completion.text[:60]!r}", min(sum(mass.values()), 1.0))


def _read(completion: Completion, labels: Sequence[str], parse: Callable[[str], str | None]) -> Reply:
    """Return the reply that a text states; one that was cut off states nothing."""
    if not completion.ok:
        return Reply(None, completion.error, completion.detail)
    said = None if completion.truncated else parse(completion.text)
    if said is None:
        cut_off = "cut off, raise `reasoning_tokens`; " if completion.truncated else ""
        return Reply(None, "no_label", f"{cut_off}ends with {completion.text[-60:]!r}")
    if said == TIE:
        return Reply(dict.fromkeys(labels, 1 / len(labels)))
    return Reply({label: float(label == said) for label in labels})
