"""Client of one endpoint: slots, retries, pauses, and the decision that the endpoint is lost.

A request that waits for its next attempt frees its slot, so failing requests do not idle the server. A rate limit
pauses all requests to the endpoint.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from windtunnel.generators.client import protocol
from windtunnel.generators.client.budget import Purse
from windtunnel.generators.client.completion import Completion, Request, Usage, key_of
from windtunnel.generators.client.endpoint import Endpoint
from windtunnel.generators.client.faults import POLICIES, TRANSIENT, Fault, from_status
from windtunnel.generators.client.form import Form
from windtunnel.schemas.errors import RecipeError, WindtunnelError
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.spending import cost

log = logging.getLogger(__name__)
LONGEST_BACKOFF_SECONDS = 30.0
FEWEST_KEY_CHARACTERS = 8  # a shorter one ("none", "ollama") is no secret, and replies may contain the word
REPORTED_AFTER = 2  # attempts of one request that reach no server, before the log says so: one may be a blip
REPORT_AGAIN_SECONDS = 300.0  # the log says so at most once in this time
LOST_AFTER = 32  # requests in a row that failed in all attempts, before the endpoint counts as lost


class EndpointClient:
    """Answers requests at one endpoint, with the retries that the policies allow.

    `learning` is held by the one request that tries another form.
    """

    def __init__(
        self, endpoint: Endpoint, concurrency: int, timeout: float, backoff: float, usage: Usage, purse: Purse
    ):
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self.endpoint = endpoint
        self.learning = asyncio.Lock()
        self.concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._timeout = timeout
        self._backoff = backoff
        self._usage = usage
        self._purse = purse
        self._resume_at = 0.0  # monotonic seconds; nothing is sent before
        self._fatal: Fault | None = None
        self._lost_in_a_row = 0
        self._reported_at = -REPORT_AGAIN_SECONDS  # monotonic seconds
        self._reviving = asyncio.Lock()
        self._key = _secret(endpoint)
        local = (urlsplit(endpoint.url).hostname or "") in ("127.0.0.1", "localhost", "::1")
        self._sdk = AsyncOpenAI(
            base_url=endpoint.url,
            api_key=self._key or "none",  # never the SDK's default, which is a key for another address
            max_retries=0,
            timeout=timeout,
            http_client=DefaultAsyncHttpxClient(trust_env=not local, limits=_limits(concurrency)),
        )

    def key_of(self, request: Request, form: Form) -> str:
        """Return the key of a request in a form."""
        return key_of(request, self.endpoint.model, self.endpoint.revision, form.changes(request))

    async def answer(self, request: Request, key: str, form: Form) -> tuple[Completion, str]:
        """Return the completion after all attempts, and what the server refuses, if it does.

        An error code in the completion is final for this form of the request.
        """
        tries: Counter[str] = Counter()
        attempts = reasks = 0
        while self._fatal is None:
            completion, fault, sent = await self._attempt(request, key, reasks, form)
            attempts += sent
            if fault is None and completion.ok:
                self._lost_in_a_row = 0
                return self._named(completion, key, attempts), ""
            code = fault.code if fault else str(completion.error)
            policy = POLICIES[code]
            tries[code] += 1
            if policy.fatal:
                self._fatal = fault
            if tries[code] > policy.retry + policy.reask:
                return self._failed(completion, fault, key, attempts), fault.refusal if fault else ""
            self._usage.retries[code] += 1
            if fault is None:
                self._purse.discarded(self.endpoint, completion.prompt_tokens, completion.completion_tokens)
            log.debug("%s: %s, attempt %d", self.endpoint.name, code, attempts)
            reasks += policy.reask > 0
            if fault is not None:
                await self._recover(fault, tries[code])
        return self._failed(Completion(), self._fatal, key, attempts), ""

    async def _attempt(
        self, request: Request, key: str, reask: int, form: Form
    ) -> tuple[Completion, Fault | None, int]:
        """Return (completion, fault, HTTP requests sent) of one attempt."""
        async with self._slots:
            while (wait := self._resume_at - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if self._fatal is not None:
                return Completion(), self._fatal, 0
            held = await self._purse.hold(self.endpoint, request)
            self._usage.sent += 1
            try:
                changes = form.changes(request)
                completion = protocol.completion(request, await self._post(request, key, reask, changes), changes)
            except Fault as fault:
                return Completion(), fault, 1
            finally:
                self._purse.release(held)
        self._usage.prompt_tokens += completion.prompt_tokens
        self._usage.completion_tokens += completion.completion_tokens
        self._purse.paid(self.endpoint, completion.prompt_tokens, completion.completion_tokens)
        self._usage.cost += cost(self.endpoint.price, completion.prompt_tokens, completion.completion_tokens)
        return completion, None, 1

    async def _post(self, request: Request, key: str, reask: int, changes: Mapping[str, Any]) -> str:
        """Return the text of a reply with status 200; raise Fault for everything else."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        sent = protocol.body(request, self.endpoint.model, self.endpoint.dialect, key, reask, changes)
        try:
            async with asyncio.timeout(self._timeout):
                text = await self._sdk.post(protocol.path(request), cast_to=str, body=sent)
        except (APITimeoutError, TimeoutError) as error:
            raise Fault("timeout", f"no reply within {self._timeout:g} s") from error
        except APIConnectionError as error:
            raise Fault("connection", _chain(error)) from error
        except APIStatusError as error:
            raise self._redacted(from_status(error)) from error
        except OpenAIError as error:
            raise self._redacted(Fault("bad_reply", str(error))) from error
        secret = len(self._key) >= FEWEST_KEY_CHARACTERS
        return text.replace(self._key, "[key]") if secret and self._key in text else text

    async def _recover(self, fault: Fault, tries: int) -> None:
        """Wait as long as the fault requires, and revive a server that was started here."""
        if fault.code == "rate_limited":
            wait = self._pause(tries) if fault.retry_after is None else fault.retry_after
            self._resume_at = max(self._resume_at, time.monotonic() + wait)
            return
        self._report_no_answer(fault, tries)
        if self.endpoint.revive and fault.code in ("connection", "server_error", "timeout"):
            async with self._reviving:
                await asyncio.to_thread(self.endpoint.revive)
        await asyncio.sleep(self._pause(tries) if fault.retry_after is None else fault.retry_after)

    def _report_no_answer(self, fault: Fault, tries: int) -> None:
        """Log once that no server answers, and how long it is still tried; a server started here says so itself."""
        now = time.monotonic()
        unreachable = fault.code in ("connection", "timeout") and self.endpoint.revive is None
        first = REPORTED_AFTER if fault.code == "connection" else 1  # a timeout has taken long enough
        if not unreachable or tries < first or now - self._reported_at < REPORT_AGAIN_SECONDS:
            return
        self._reported_at = now
        left = range(tries, fault.policy.retry + 1)
        attempt = self._timeout if fault.code == "timeout" else 0.0  # an address that refuses does so at once
        seconds = sum(self._longest_pause(each) + attempt for each in left)
        what = f"{self.endpoint.public_url} ({one_line(fault.detail)})"
        log.warning("no answer from %s: trying again for up to %.0f s", what, seconds)

    def _longest_pause(self, tries: int) -> float:
        return min(self._backoff * 2 ** (tries - 1), LONGEST_BACKOFF_SECONDS)

    def _pause(self, tries: int) -> float:
        """Return seconds of exponential backoff with jitter, so that failed requests are not repeated all at once."""
        return self._longest_pause(tries) * random.uniform(0.5, 1.0)

    def _named(self, completion: Completion, key: str, attempts: int) -> Completion:
        model, revision = self.endpoint.model, self.endpoint.revision
        return replace(completion, model=model, revision=revision, key=key, attempts=attempts)

    def _failed(self, completion: Completion, fault: Fault | None, key: str, attempts: int) -> Completion:
        """Return the final failure. Raises WindtunnelError when the endpoint itself is lost."""
        if fault is not None:
            # a transient failure is no part of a row, which may not depend on the address
            where = f" (at {self.endpoint.public_url})" if fault.code in TRANSIENT else ""
            completion = replace(completion, error=fault.code, detail=fault.detail + where)
            if fault.policy.retry:
                self._lost_in_a_row += 1
            if self._lost_in_a_row >= LOST_AFTER:
                raise WindtunnelError(
                    f"{self.endpoint.name} at {self.endpoint.public_url} does not answer: {self._lost_in_a_row} "
                    f"requests in a row failed in all attempts, the last with {fault.code} ({fault.detail}). What "
                    "was answered is in the completion store: start the same command again when the server is back."
                )
        return self._named(completion, key, attempts)

    def _redacted(self, fault: Fault) -> Fault:
        if self._key:
            fault.detail = fault.detail.replace(self._key, "[key]")
        return fault

    async def close(self) -> None:
        """Close the connections."""
        await self._sdk.close()


def _secret(endpoint: Endpoint) -> str:
    if endpoint.key_variable is None:
        return ""
    if not (key := os.environ.get(endpoint.key_variable, "")):
        raise RecipeError(
            f"model {endpoint.name!r} takes its key from the environment variable {endpoint.key_variable}, "
            "which is not set"
        )
    return key


def _limits(concurrency: int) -> Any:
    """Return connection limits without a queue in the HTTP client, where waiting would count towards the timeout."""
    from openai import DEFAULT_CONNECTION_LIMITS

    return type(DEFAULT_CONNECTION_LIMITS)(max_connections=concurrency, max_keepalive_connections=concurrency)


def _chain(error: BaseException) -> str:
    """Return the innermost cause; the message of the SDK is only "Connection error."."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"
