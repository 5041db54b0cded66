"""Base class of judges that ask a model: the address, the client, the requests for one token and the store."""

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
    """A judge at an OpenAI-compatible address, `at` = MODEL@URL, with its key in the variable `key_variable`.

    The default variable is WINDTUNNEL_JUDGE_KEY, if it is set, so that no key for another address is sent.
    `completions` is a file that stores the completions. `most_characters` cuts long answers, both at the same length.
    `dialect: vllm` restricts the reply to labels, so that all probability is on them. `special_tokens` are those of the
    model's tokenizer; texts that are judged are shown without them and without those of common chat templates.
    """

    version: ClassVar[int] = 2
    primary: ClassVar[str | None] = "at"
    at: str
    revision: str = ""
    key_variable: str | None = None
    dialect: str = Field(default="openai", pattern="^(openai|vllm)$")
    completions: str | None = None
    concurrency: int = Field(default=64, gt=0)
    most_characters: int | None = Field(default=None, gt=0)
    special_tokens: tuple[str, ...] = ()
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
        about = {name: getattr(endpoint, name) for name in ("revision", "key_variable", "dialect", "special_tokens")}
        return cls(at=f"{endpoint.model}@{endpoint.url}", **about, **params)

    def endpoint(self) -> Endpoint:
        """Return the endpoint of the model."""
        match = _AT.fullmatch(self.at)
        assert match
        variable = self.key_variable or (KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else None)
        about = {"revision": self.revision, "key_variable": variable, "dialect": self.dialect}
        return Endpoint(match["url"], match["model"], **about)

    def ask(self, prompts: Sequence[str], labels: Sequence[str]) -> list[tuple[dict[str, float] | None, Completion]]:
        """Return label probabilities (None: the reply gives no label) and the completion, per prompt, in order.

        Raises WindtunnelError for a transient failure, on which no verdict may depend.
        """
        requests = [self._request(prompt, labels) for prompt in prompts]
        with Client(self.endpoint(), store=self.completions, concurrency=self.concurrency) as client:
            completions = [completion.settled() for completion in client.complete(requests)]
        return [(probabilities(c, labels) if c.ok else None, c) for c in completions]

    def quoted(self, **texts: str) -> dict[str, Any]:
        """Return the texts as a prompt shows them, and the mark that delimits them."""
        safe = {name: cut(defused(text, self.special_tokens), self.most_characters) for name, text in texts.items()}
        return {**safe, "mark": mark(list(safe.values()))}

    def _request(self, prompt: str, labels: Sequence[str]) -> Request:
        extra: Mapping[str, Any] = {"structured_outputs": {"choice": list(labels)}} if self.dialect == "vllm" else {}
        message = {"role": "user", "content": prompt}  # no system turn: some chat templates refuse one
        return Request((message,), temperature=0.0, max_tokens=1, logprobs=self.alternatives, extra=extra)
