"""A vLLM server that is started when needed, monitored, restarted a bounded number of times, and stopped.

A supervisor process (`generators.serving.supervisor`) is the parent of the server and ends it after the run. A record
tells every process of this user which server has which model, so that the workers of a run share one server, and a run
that starts soon after a kill -9 adopts the running server.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from blake3 import blake3

from windtunnel.generators.client.endpoint import Endpoint
from windtunnel.generators.serving import supervisor, vllm_command, weights
from windtunnel.generators.serving.server_record import Record, runtime_directory
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.special_tokens import special_tokens
from windtunnel.schemas.weight_files import check_weights

Say = Callable[[str], None]
LINGER_SECONDS = 20.0
SICK_SECONDS = 60.0  # for which a running server may fail its health check before it is restarted
HEALTH_SECONDS = 5.0
SAY_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class Serve:
    """A model directory (or `owner/name` of the hub) and how to serve it.

    `context` is the longest sequence in tokens (None: the model's default). `kv_cache_gib` applies to CPUs only. `port`
    is fixed when given, else free. `start_seconds` is the limit until the first answer, compilation included.
    `restarts` bounds the restarts after a crash. `linger` is the time in seconds that it outlives a killed run, so that
    the next run can adopt it. `withheld` names variables that the server does not see.
    """

    model: str | Path
    name: str = ""
    context: int | None = None
    kv_cache_gib: float | None = None
    port: int | None = None
    arguments: tuple[str, ...] = ()
    environment: Path | None = None
    start_seconds: float = 1800.0
    restarts: int = 3
    linger: float = LINGER_SECONDS
    withheld: tuple[str, ...] = ()


class Server:
    """One server for the duration of a `with` block, which yields its endpoint.

    `owner` is the process with which the server ends (None: this one). Workers name the main process of the run, so
    that the server outlives them; that process ends it (`windtunnel.generators.serving.server_record.end_owned`).
    """

    def __init__(self, serve: Serve, say: Say | None = None, owner: int | None = None, runtime: Path | None = None):
        self.serve = serve
        self.runtime = runtime or runtime_directory()
        self.runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._say = say or (lambda _line: None)
        self._owner = supervisor.identity(owner or os.getpid())
        self._started = 0
        self._port = serve.port or 0
        self._supervisor: subprocess.Popen[bytes] | None = None

    @cached_property
    def directory(self) -> Path:
        return weights.directory(self.serve.model)

    @cached_property
    def revision(self) -> str:
        """The hash of the model's files and of the arguments that change answers, which is part of every store key."""
        cache = self.runtime / "digests.cache"
        files = weights.revision(self.directory, cache)
        how = vllm_command.deciding(self.serve.arguments, cache)
        return blake3(canonical_json([files, how]).encode()).hexdigest()[: len(files)] if how else files

    @property
    def name(self) -> str:
        return self.serve.name or self.directory.name

    @cached_property
    def record(self) -> Record:
        """The record, whose name depends on the model and on how it is served."""
        s = self.serve
        how = [self.revision, self.name, s.context, s.kv_cache_gib, s.port, list(s.arguments), str(s.environment)]
        return Record(self.runtime, blake3(canonical_json(how).encode()).hexdigest()[:16])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def endpoint(self) -> Endpoint:
        tokens = special_tokens(self.directory)
        return Endpoint(
            self.url, self.name, revision=self.revision, dialect="vllm", special_tokens=tokens, revive=self.revive
        )

    def start(self) -> Endpoint:
        """Return the endpoint of a server that is already running, or of a new one."""
        with self.record.locked(lambda: self._say(f"waiting for another process that starts {self.name}")):
            if not self._join():
                self._launch()
        return self.endpoint

    def revive(self) -> None:
        """Return when the server answers, restarted if it died. Raises WindtunnelError when it died too often."""
        if self._healthy():
            return
        with self.record.locked():
            record = self.record.read()
            if record and supervisor.alive(record["supervisor"]) and self._recovers(record):
                return
            if self._started > self.serve.restarts:
                self.record.end(record)
                raise WindtunnelError(
                    f"the server of {self.name} died {self._started} times. {self.record.tail()}\n"
                    "Completions are stored: fix the cause and start the same command again."
                )
            self.record.end(record)
            self._say(f"the server of {self.name} is gone; restarting it")
            self._launch()

    def stop(self) -> None:
        """End the server if this process owns it; return after its processes ended."""
        atexit.unregister(self.stop)
        if self._owner["pid"] != os.getpid():
            return
        with self.record.locked():
            record = self.record.read()
            if record and record["owner"] == self._owner:
                self.record.end(record)
        if self._supervisor is not None:
            self._supervisor.wait()

    def __enter__(self) -> Endpoint:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _join(self) -> bool:
        """Use the server on record if it answers, else end its remaining processes."""
        record = self.record.read()
        if record is None:
            return False
        self._port = record["port"]
        if not supervisor.alive(record["supervisor"]) or not self._healthy():
            self.record.end(record)
            return False
        if not supervisor.alive(record["owner"]):
            self._say(f"taking over the server of {self.name} from an earlier run")
            self._own(record)
        return True

    def _launch(self) -> None:
        check_weights(self.directory)
        python = vllm_command.find_python(self.serve.environment)
        self._port = _free_port(self._port, fixed=self.serve.port is not None)
        order = {
            "command": vllm_command.command(
                python, self.directory, self.name, self._port, self.serve.context, self.serve.arguments
            ),
            "log": str(self.record.log),
            "record": str(self.record.path),
            "owner": self._owner,
            "linger": self.serve.linger,
        }
        self._supervisor = subprocess.Popen(
            [sys.executable, supervisor.__file__, json.dumps(order)],
            env=vllm_command.variables(python, self.serve.kv_cache_gib, os.environ, self.serve.withheld),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that an interrupt at the terminal reaches this process only
        )
        self._started += 1
        self._own({"supervisor": supervisor.identity(self._supervisor.pid), "port": self._port})
        try:
            self._wait(self._supervisor)
        except BaseException:
            self.record.end(self.record.read())
            raise

    def _own(self, record: dict[str, Any]) -> None:
        self.record.write(record | {"owner": self._owner})
        if self._owner["pid"] == os.getpid():
            atexit.register(self.stop)

    def _wait(self, held: subprocess.Popen[bytes]) -> None:
        """Return when the server answers. Raises WindtunnelError with the end of its log if it dies or times out."""
        started = reported = time.monotonic()
        self._say(f"starting vLLM for {self.name}; its log is {self.record.log}")
        while not self._healthy():
            waited = time.monotonic() - started
            if held.poll() is not None:
                raise WindtunnelError(f"vLLM ended while it was starting {self.name}. {self.record.tail()}")
            if waited > self.serve.start_seconds:
                raise WindtunnelError(f"vLLM did not answer for {self.name} in {waited:.0f} s. {self.record.tail()}")
            if time.monotonic() - reported > SAY_EVERY_SECONDS:
                reported = time.monotonic()
                self._say(f"{waited:5.0f} s: {(self.record.last_lines(1) or ['no output yet'])[0][:160]}")
            time.sleep(0.2)
        self._say(f"{self.name} answers at {self.url} after {time.monotonic() - started:.0f} s")

    def _recovers(self, record: dict[str, Any]) -> bool:
        """Wait for a running server to answer again; return whether it did."""
        until = time.monotonic() + SICK_SECONDS
        while supervisor.alive(record["supervisor"]) and time.monotonic() < until:
            if self._healthy():
                return True
            time.sleep(0.2)
        return False

    def _healthy(self) -> bool:
        """Return whether the engine is healthy and serves this model: another program may use the port."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        root = self.url.removesuffix("/v1")
        try:
            with opener.open(f"{root}/health", timeout=HEALTH_SECONDS):
                pass
            with opener.open(f"{root}/v1/models", timeout=HEALTH_SECONDS) as reply:
                return self.name in [model["id"] for model in json.loads(reply.read())["data"]]
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return False  # HTTPException: it died between the head of its reply and the body


def serve_until_interrupted(serve: Serve, say: Say) -> None:
    """Serve a model until the user interrupts; a server that dies is started again a bounded number of times."""
    server = Server(serve, say)
    with server as endpoint, contextlib.suppress(KeyboardInterrupt):
        say(f"model {endpoint.model}, revision {endpoint.revision}, at {endpoint.url}. Interrupt (Ctrl-C) ends it.")
        while True:
            time.sleep(2)
            server.revive()


def _free_port(preferred: int, fixed: bool) -> int:
    """Return the preferred port if it is free, else any free one unless it is fixed."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]
            except OSError as error:
                if fixed:
                    raise WindtunnelError(f"port {preferred} is taken by another program: {error}") from error
    raise WindtunnelError("no free port on the loopback")
