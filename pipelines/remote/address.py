"""Addresses of files that are not local: `s3://bucket/key`, `hf://datasets/owner/name/file`, whatever fsspec opens."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from windtunnel.schemas.errors import nearest

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.I)
_LOCAL = ("file", "local")
_WEB = ("http", "https")
_BUCKETS = ("s3", "s3a", "gs", "gcs")  # whose names hold no @, as abfs://container@account does
_QUERY = re.compile(r"[?#][\w.-]+=")  # the `?` of a glob is followed by other things


def scheme_of(place: str) -> str | None:
    """Return the scheme of an address, in small letters; None for a local path, `file:///path` included."""
    match = _SCHEME.match(place)
    scheme = match[1].lower() if match else None
    return None if scheme in _LOCAL else scheme


def local_path(place: str) -> str:
    """Return a local path without `file://`."""
    return re.sub(rf"^({'|'.join(_LOCAL)})://", "", place, flags=re.I)


def checked(place: str) -> str:
    """Return a path or an address as it is.

    Raises ValueError for an address that holds a secret, that names nothing, or whose file system is unknown or needs
    a package that is not installed. The message does not quote the address.
    """
    scheme = scheme_of(place)
    if "::" in place and any(scheme_of(part) for part in place.split("::")):
        raise ValueError("addresses chained by `::` are not supported: give the address of the files themselves")
    if scheme is None:
        return place
    if _holds_secrets(place, scheme):
        raise ValueError(
            "an address is written into manifests, so it holds no password and no query, and that of a web server or "
            "a bucket no user: credentials come from the "
            "configuration of the file system (environment variables, ~/.aws, ...)"
        )
    file_system(scheme)
    if not place[len(scheme) + 3 :].strip("/"):
        raise ValueError(f"the address names nothing after {scheme}://")
    return place


def _holds_secrets(place: str, scheme: str) -> bool:
    """Return whether an address holds a password, a query, or a user where none belongs; globs have `?` too."""
    try:
        parts = urlsplit(place)
    except ValueError:  # a netloc that cannot be parsed
        return "@" in place
    user, at, host = parts.netloc.rpartition("@")
    if scheme in _WEB and (parts.query or parts.fragment):
        return True
    if _QUERY.search(place) or ":" in unquote(user) or (at and scheme in (*_WEB, *_BUCKETS)):
        return True
    # a slash in a password ends what is read as the host: s3://KEY:SEC/RET@bucket
    cut = ":" in host and not host.startswith("arn:") and not re.fullmatch(r"(\[[^]]*]|[^:]*):\d*", host)
    return cut and "@" in parts.path


def file_system(scheme: str) -> Any:
    """Return fsspec's class for a scheme; raises ValueError that names the package that is missing."""
    from fsspec.registry import available_protocols, get_filesystem_class, known_implementations

    try:
        return get_filesystem_class(scheme)
    except ValueError:
        raise ValueError(f"no file system is called {scheme}://: {nearest(scheme, available_protocols())}") from None
    except ImportError as error:
        package = known_implementations.get(scheme, {}).get("class", "fsspec").partition(".")[0]
        name = "'windtunnel[s3]'" if package == "s3fs" else package
        install = "" if package == "fsspec" else f" (pip install {name})"
        raise ValueError(f"{scheme}:// needs a package that is not installed: {error}{install}") from None
