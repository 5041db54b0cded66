"""Where a model answers: a URL, the model's name there, its revision, and the name of the variable with the key."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible address such as `http://127.0.0.1:8000/v1`.

    `name` is what requests say in `model` (the model's id by default). `revision` is a part of every store key: the
    content hash of the weights for a server of our own; for a foreign URL, the address, unless the caller knows better.
    `key_variable` names the environment variable that holds the key: the key itself is read when the client connects
    and kept nowhere else. `price` is dollars per million prompt and completion tokens.
    """

    url: str
    model: str
    name: str = ""
    revision: str = ""
    key_variable: str | None = None
    price: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.model)
        object.__setattr__(self, "revision", self.revision or _public(self.url))


def _public(url: str) -> str:
    """Return the URL without user, password, query and fragment: those may hold secrets."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path.rstrip("/"), "", ""))
