"""Addresses of model servers as recipes write them: they are kept with every result, so no secret may be in them."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_secrets(url: str) -> str:
    """Return the URL as it is.

    Raises ValueError for one that is no HTTP address, or holds a user, a password, a query or a fragment; the message
    never quotes it.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text may quote a password
        valid = False
    if not valid:
        raise ValueError("this is no address of a model server: write http://HOST:PORT/v1") from None
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ValueError(
            "an address is written into results, so it holds no user, password or query: put the secret into an "
            "environment variable and name that with `key:` (of a judge, `key_variable:`)"
        )
    return url
