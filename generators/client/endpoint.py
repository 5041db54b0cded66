"""Endpoints: a URL, the model's name there, its revision, and the name of the variable with the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from windtunnel.generators.client.completion import Request
from windtunnel.generators.client.parameters import checked_parameters
from windtunnel.schemas.errors import RecipeError


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible address such as `http://127.0.0.1:8000/v1`.

    `name` is the value of `model` in requests (default: the model's id). `revision` is part of every store key: the
    content hash of the weights for a server started here, else the address by default. `key_variable` names the
    environment variable that holds the key; the key itself is read on connection and stored nowhere else. `price` is in
    dollars per million prompt and completion tokens. `dialect` is `vllm` where vLLM's own parameters are understood.
    `parameters` are further fields of every request, such as `reasoning_effort`; they are part of its key, and one of
    the client's own names replaces what is asked (None: leaves it out).
    `special_tokens` are those of the model's tokenizer, where its files are at hand. `revive` is called when the
    address stops answering: it returns when the server is up again and raises WindtunnelError when it will not be.
    """

    url: str
    model: str
    name: str = ""
    revision: str = ""
    key_variable: str | None = None
    price: tuple[float, float] = (0.0, 0.0)
    dialect: str = "openai"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    special_tokens: tuple[str, ...] = field(default=(), compare=False, repr=False)
    revive: Callable[[], None] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RecipeError(f"{self.public_url!r} is no address of a model server: write http://HOST:PORT/v1")
        try:
            checked_parameters(self.parameters)
        except ValueError as error:
            raise RecipeError(f"model {self.name or self.model!r}: {error}") from None
        object.__setattr__(self, "name", self.name or self.model)
        object.__setattr__(self, "revision", self.revision or self.public_url)

    def asked(self, request: Request) -> Request:
        """Return the request with this model's own parameters."""
        return replace(request, extra={**request.extra, **self.parameters}) if self.parameters else request

    @property
    def public_url(self) -> str:
        """The URL without user, password, query and fragment, which may be secret."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        netloc = f"{host}:{parts.port}" if parts.port else host
        return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
