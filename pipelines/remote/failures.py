"""What file systems raise, as errors for people: no traceback, and no secret in their text."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from windtunnel.schemas.errors import InputError, WindtunnelError, advice_for

_PASSWORD = re.compile(r"(://)(?!arn:)[^/\s@]*(:(?!\d+/)|%3a)[^\s@]*@|(https?://)[^/\s@]+@", re.I)
_NAMED_QUERY = re.compile(r"(\w://[^\s'\"]*?)[?#][\w.-]+=[^\s'\"]*")  # not the `?` of a glob
_USER = re.compile(r"(://)[^/\s@]+@")
_QUERY = re.compile(r"(\w://[^\s?'\"]+)\?[^\s'\"]*")
_SECRET = re.compile("secret|token|password|passwd|credential|key", re.I)
_SHORTEST_SECRET = 6  # shorter values of such options would blank out common words

# exceptions of drivers, by class name: they cannot be imported without the driver
_REASONS = {
    "NoCredentialsError": "no credentials are configured; s3 reads AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
    "profile in ~/.aws",
    "PartialCredentialsError": "the configured credentials are incomplete",
    "DefaultCredentialsError": "no credentials are configured",
    "OfflineModeIsEnabled": "the network is switched off (HF_HUB_OFFLINE)",
    "FileExpired": "it changed while it was read: run again",
}


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what a file system raises into an InputError: `what`, in which an address has no secret, then the reason.

    A full local disk and the project's own errors pass through.
    """
    try:
        yield
    except WindtunnelError:
        raise
    except Exception as error:  # drivers raise types of their own
        if advice_for(error):
            raise
        # without the cause: its text is not checked for secrets, and tracebacks are kept in files
        raise InputError(f"{shown_address(what)}: {reason(error)}") from None


def shown_address(text: str) -> str:
    """Return a text without the passwords and queries of the addresses in it; globs and users stay as they are."""
    return _NAMED_QUERY.sub(r"\1", _PASSWORD.sub(lambda found: found[1] or found[3], text))


def reason(error: BaseException) -> str:
    """Return why a file system failed, without secrets, in at most about 300 characters."""
    name = type(error).__name__
    if name in _REASONS:
        return _REASONS[name]
    said = without_secrets(" ".join(str(error).split()))[:250]
    if isinstance(error, FileNotFoundError):
        return f"not found ({said})"
    if isinstance(error, PermissionError):
        return f"access is denied ({said}): check the credentials and what they permit"
    return f"{name}: {said}"


def without_secrets(text: str) -> str:
    """Return text without users and queries of addresses, and without the values of options that look secret."""
    import fsspec.config

    text = _QUERY.sub(r"\1", _USER.sub(r"\1", text))
    options = [os.environ, *(part for part in fsspec.config.conf.values() if isinstance(part, dict))]
    secrets = {
        value
        for named in options
        for name, value in named.items()
        if _SECRET.search(name) and isinstance(value, str) and len(value) >= _SHORTEST_SECRET
    }
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, "***")
    return text
