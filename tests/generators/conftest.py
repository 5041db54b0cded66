"""A scripted model server on the loopback: a deterministic model behind it, and every fault a real one can show."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from blake3 import blake3

Action = Callable[["Handler", dict[str, Any]], None]
Script = Callable[[dict[str, Any], int], Action]  # (body, how often this very body came before) -> what to do


def words(body: dict[str, Any], count: int = 5) -> str:
    """The model: a text that depends on the whole request, seed included, and on nothing else."""
    digest = blake3(json.dumps(body, sort_keys=True).encode()).digest()
    syllables = ["ba", "do", "fi", "ku", "le", "mo", "na", "pi", "ra", "su", "te", "vo", "xe", "yu", "za", "go"]
    return " ".join(syllables[b >> 4] + syllables[b & 15] for b in digest[:count])


def reply(body: dict[str, Any], text: str, **choice: Any) -> dict[str, Any]:
    """A well-formed reply with the given text."""
    said = {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
    usage = {"prompt_tokens": 7, "completion_tokens": len(text.split())}
    return {"choices": [{"index": 0, "finish_reason": "stop", **said, **choice}], "usage": usage}


def says(text: str, **choice: Any) -> Action:
    return lambda handler, body: handler.send(200, json.dumps(reply(body, text, **choice)))


def answers(handler: Handler, body: dict[str, Any]) -> None:
    text = (
        json.dumps({"score": len(words(body)) % 5 + 1})
        if {"response_format", "structured_outputs"} & set(body)
        else words(body)
    )
    handler.send(200, json.dumps(reply(body, text)))


def fits(handler: Handler, body: dict[str, Any]) -> None:
    """Answers what the kinds and the judges ask for; every answer depends on the whole request."""
    text = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
    digest = blake3(json.dumps(body, sort_keys=True).encode()).digest()
    if body.get("logprobs"):
        letter, other = "AB" if digest[0] % 2 else "BA"
        top = [{"token": letter, "logprob": -0.2}, {"token": other, "logprob": -1.7}]
        says(letter, logprobs={"content": [{**top[0], "top_logprobs": top}]})(handler, body)
    else:
        says(_fitting(body, text, digest))(handler, body)


def _fitting(body: dict[str, Any], text: str, digest: bytes) -> str:
    def rnd(count: int, salt: str = "") -> str:
        return words(body | {"salt": salt}, count)

    schema = json.dumps(body.get("structured_outputs") or body.get("response_format") or "")
    if "ratings" in schema:
        return json.dumps(
            {"ratings": [{"rationale": rnd(3), "rating": 1 + digest[i] % 5} for i in range(text.count(" text "))][:4]}
        )
    if '"score"' in schema:
        return json.dumps({"feedback": rnd(4), "score": 1 + digest[0] % 10})
    if text.endswith("\n9."):
        return "".join(f" {rnd(5, str(i))}\n{i}." for i in range(10, 13)) + f" {rnd(2)}"
    if text.endswith("Classification:"):
        return ["Yes", "No"][digest[0] % 2]
    if text.endswith("Label:"):
        return f" {rnd(1)}\nInput: {rnd(4, 'a')}\nLabel: {rnd(1, 'b')}\nInput: {rnd(4, 'c')}"
    if text.endswith("Example 1"):
        return f"Input: {rnd(4)}\nOutput: {rnd(5, 'o')}"
    if "numbered list" in text:
        return "\n".join(f"{i}. {rnd(6, str(i))}?" for i in range(1, 6))
    return rnd(8) + "."


def status(number: int, message: str = "", headers: dict[str, str] | None = None, **error: Any) -> Action:
    text = json.dumps({"error": {"message": message, "type": "Error", "code": number, **error}})
    return lambda handler, body: handler.send(number, text, headers=headers)


def raw(text: str, kind: str = "application/json") -> Action:
    return lambda handler, body: handler.send(200, text, kind)


def hangs(seconds: float) -> Action:
    def act(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        answers(handler, body)

    return act


def held(until: Callable[[], bool], action: Action = answers) -> Action:
    """Hold the request until something has come about, however slow the machine; give up after a minute."""

    def act(handler: Handler, body: dict[str, Any]) -> None:
        end = time.monotonic() + 60
        while not until() and time.monotonic() < end:
            time.sleep(0.002)
        action(handler, body)

    return act


def resets(handler: Handler, body: dict[str, Any]) -> None:
    """Sends half of the reply, then resets the connection."""
    text = json.dumps(reply(body, words(body))).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text[: len(text) // 2])
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ScriptedServer  # type: ignore[assignment]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.noting():
            key = json.dumps(body, sort_keys=True)
            with self.server.lock:
                before = self.server.seen[key]
                self.server.seen[key] += 1
                self.server.bodies.append(body)
                self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.server.script(body, before)(self, body)

    def do_GET(self) -> None:
        self.send(200, json.dumps({"object": "list", "data": [{"id": "m", "owned_by": "scripted"}]}))

    def send(self, code: int, text: str, kind: str = "application/json", headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


class ScriptedServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, port: int = 0):
        super().__init__(("127.0.0.1", port), Handler)
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.active = self.peak = 0
        self.script: Script = lambda body, before: answers
        self.open: set[socket.socket] = set()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def noting(self) -> ScriptedServer:
        return self

    def __enter__(self) -> ScriptedServer:
        with self.lock:
            self.active += 1
            self.peak = max(self.peak, self.active)
        return self

    def __exit__(self, *_: Any) -> None:
        with self.lock:
            self.active -= 1

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.open.add(connection)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # broken pipes are what the tests are about

    def die(self) -> None:
        """Stop as a killed process does: no reply, all connections reset."""
        self.shutdown()
        self.server_close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # closing is not enough: its thread holds a duplicate


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def play() -> Any:
    """The vocabulary of scripts, so that tests need no import from here."""

    class Play:
        pass

    for name in (
        "answers",
        "fits",
        "says",
        "status",
        "raw",
        "hangs",
        "held",
        "resets",
        "reply",
        "words",
        "ScriptedServer",
    ):
        setattr(Play, name, staticmethod(globals()[name]))
    return Play
