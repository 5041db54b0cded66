"""Errors of requests to a model server as codes, with a policy for each.

Rows and reports count the codes. A policy gives the number of times that a request is repeated as it is (`retry`) or
with another random stream (`reask`), whether the error depends on the request only and is stored (`keep`), and whether
it holds for every request to the endpoint (`fatal`).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai import APIStatusError

DETAIL_CHARACTERS = 300
REFUSAL_CHARACTERS = 4000
RETRY_AFTER_MOST = 600.0  # seconds


@dataclass(frozen=True)
class Policy:
    """Number of repetitions of a request with this error, and the meaning of the final error."""

    retry: int = 0
    reask: int = 0
    keep: bool = False
    fatal: bool = False


POLICIES = {
    # transient: the same request may succeed
    "rate_limited": Policy(retry=60),  # many: the server is alive
    "server_error": Policy(retry=7),
    "timeout": Policy(retry=3),
    "connection": Policy(retry=9),
    "bad_reply": Policy(retry=5),  # status 200 with HTML, half a JSON text, or JSON of another shape
    # of the reply: another draw may succeed
    "empty_reply": Policy(reask=2, keep=True),
    "invalid_json": Policy(reask=2, keep=True),
    "truncated_json": Policy(reask=2, keep=True),
    "schema_mismatch": Policy(reask=2, keep=True),
    # of the request; the length limit depends on how the server was started, so that error is not stored
    "context_too_long": Policy(),
    "filtered": Policy(keep=True),
    "bad_request": Policy(),
    # of the endpoint
    "model_not_found": Policy(fatal=True),
    "unauthorized": Policy(fatal=True),
    "quota_exhausted": Policy(fatal=True),
    # of this run
    "deadline": Policy(),
}
TRANSIENT = frozenset(code for code, policy in POLICIES.items() if policy.retry or policy.fatal or code == "deadline")

_TOO_LONG = re.compile(
    r"context[ _]length|context size|maximum context|max_model_len|max_total_tokens|maximum (input|sequence) length"
    r"|too many (input )?tokens|prompt is too long|reduce the length|exceed[a-z_]* .{0,40}(token|context)",
    re.IGNORECASE,
)


_CUT_OFF = re.compile(r"could not finish the message because .*limit was reached", re.IGNORECASE)


class Fault(Exception):
    """One failed attempt: its code, a detail, and the seconds to wait that the server asked for.

    `refusal` is what a refused request is about: the parameter that the server names, and its whole message.
    """

    def __init__(self, code: str, detail: str = "", retry_after: float | None = None, refusal: str = ""):
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.refusal = refusal[:REFUSAL_CHARACTERS]
        # foreign text may hold lone surrogates, which cannot be stored
        self.detail = detail[:DETAIL_CHARACTERS].encode("utf-8", "replace").decode()
        self.retry_after = retry_after

    @property
    def policy(self) -> Policy:
        return POLICIES[self.code]


def from_status(error: APIStatusError) -> Fault:
    """Return the fault of an HTTP status of 400 or more."""
    status, detail = error.status_code, _message(error)
    wait = retry_after(error.response.headers.get("retry-after"))
    if status == 429:
        return Fault("quota_exhausted" if error.code == "insufficient_quota" else "rate_limited", detail, wait)
    if (status >= 500 and status != 501) or status in (408, 409, 425):
        return Fault("server_error", f"status {status}: {detail}", wait)
    if status == 402:
        return Fault("quota_exhausted", f"status {status}: {detail}")
    if status in (401, 403):
        return Fault("unauthorized", f"status {status}: {detail}")
    if status in (404, 405):
        return Fault("model_not_found", f"status {status}: {detail}")
    if _CUT_OFF.search(detail):
        return Fault("empty_reply", detail)  # a reasoning model used up the limit before its answer
    if status == 413 or error.code == "context_length_exceeded" or _TOO_LONG.search(detail):
        return Fault("context_too_long", detail)
    if error.code == "content_filter":
        return Fault("filtered", detail)
    return Fault(
        "bad_request", f"status {status}: {detail}", refusal=f"{error.param or ''} {error.code or ''} {detail}"
    )


def retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header (a number or an HTTP date); None without a usable one."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_MOST) if seconds == seconds else None


def _message(error: APIStatusError) -> str:
    """Return the server's message: `{"error": {"message": ...}}`, `{"message": ...}`, or the body."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict):
            inner = inner.get("message") or inner.get("detail") or inner
        return " ".join(str(inner).split())
    return " ".join(str(body or error.message).split())
