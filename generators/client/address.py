"""Addresses of model servers in recipes. They are stored with every result, so they must not contain secrets."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_secrets(url: str) -> str:
    """Return the URL as it is.

    Raises ValueError, without quoting the URL, if it is not an HTTP address or has a user, password, query or fragment.
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
            "an address is written into results, so it must not contain a user, password or query: put the secret into "
            "an environment variable and name that with `key:` (of a judge, `key_variable:`)"
        )
    return url
