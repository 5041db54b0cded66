"""What judges that ask a model share: the address, the client, the one-token questions and the store of answers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator

from windtunnel.generators.client.address import without_secrets
from windtunnel.generators.client.client import Client
from windtunnel.generators.client.completion import Completion, Request
from windtunnel.generators.client.endpoint import Endpoint
from windtunnel.generators.judges._judge import Judge
from windtunnel.generators.judges._labels import probabilities
from windtunnel.generators.text.quoted import cut, defused, mark

KEY_VARIABLE = "WINDTUNNEL_JUDGE_KEY"
_AT = re.compile(r"(?P<model>.+?)@(?P<url>https?://\S+)")


class ModelJudge(Judge):
    """A judge behind an OpenAI-compatible address, `at` = MODEL@URL; its key is in the variable `key_variable`.

    Where no variable is named, WINDTUNNEL_JUDGE_KEY is used if it is set: a key meant for another address is never
    sent. `completions` is a file that keeps the answers. `most_characters` cuts long answers, both at the same length.
    `dialect: vllm` lets a server of ours write nothing but labels, so that all the probability is on them.
    """

    primary: ClassVar[str | None] = "at"
    at: str
    revision: str = ""
    key_variable: str | None = None
    dialect: str = Field(default="openai", pattern="^(openai|vllm)$")
    completions: str | None = None
    concurrency: int = Field(default=64, gt=0)
    most_characters: int | None = Field(default=None, gt=0)
    alternatives: int = Field(default=20, gt=0)  # the most that servers report per token

    @field_validator("at")
    @classmethod
    def _is_model_at_url(cls, value: str) -> str:
        found = _AT.fullmatch(value)
        if found is None:
            raise ValueError("write MODEL@URL, for example smollm2@http://127.0.0.1:8000/v1")
        without_secrets(found["url"])
        return value

    @classmethod
    def of(cls, endpoint: Endpoint, **params: Any) -> Self:
        """Return the judge that asks the model of a run's endpoint."""
        return cls(
            at=f"{endpoint.model}@{endpoint.url}",
            revision=endpoint.revision,
            key_variable=endpoint.key_variable,
            dialect=endpoint.dialect,
            **params,
        )

    def endpoint(self) -> Endpoint:
        """Return where the model answers."""
        found = _AT.fullmatch(self.at)
        assert found
        variable = self.key_variable or (KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else None)
        return Endpoint(
            found["url"], found["model"], revision=self.revision, key_variable=variable, dialect=self.dialect
        )

    def ask(self, prompts: Sequence[str], labels: Sequence[str]) -> list[tuple[dict[str, float] | None, Completion]]:
        """Return label probabilities (None: the reply gives no label) and the completion, per prompt, in order.

        Raises WindtunnelError when the model cannot be asked now: a verdict that is missing for a time is no verdict.
        """
        requests = [self._request(prompt, labels) for prompt in prompts]
        with Client(self.endpoint(), store=self.completions, concurrency=self.concurrency) as client:
            found = [completion.settled() for completion in client.complete(requests)]
        return [(probabilities(c, labels) if c.ok else None, c) for c in found]

    def quoted(self, **texts: str) -> dict[str, Any]:
        """Return the texts as they go into a prompt, and the mark that sets them apart."""
        safe = {name: cut(defused(text), self.most_characters) for name, text in texts.items()}
        return {**safe, "mark": mark(list(safe.values()))}

    def _request(self, prompt: str, labels: Sequence[str]) -> Request:
        extra: Mapping[str, Any] = {"structured_outputs": {"choice": list(labels)}} if self.dialect == "vllm" else {}
        message = {"role": "user", "content": prompt}  # no system turn: some chat templates refuse one
        return Request((message,), temperature=0.0, max_tokens=1, logprobs=self.alternatives, extra=extra)
