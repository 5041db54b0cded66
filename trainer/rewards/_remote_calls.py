"""Tests and the code that they test in two processes: the tests call the code, and get plain values or handles back.

Runs inside sandboxes, with the standard library alone. The code sees the arguments of calls, never the tests or what
they compare with; comparisons and counts are made by the other process on values of exact built-in types, so code that
redefines equality, ends its process or writes to every descriptor that it has changes no outcome but its own calls'.
"""

# ruff: noqa: PTH101, PTH208
# (pathlib takes longer to import than a test to run)

from __future__ import annotations

import ast
import builtins
import json
import os
import random
import socket
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from types import ModuleType
from typing import Any

MOST_BYTES = 1 << 24  # of a message
PLAIN = (type(None), bool, int, float, str)
# what is asked of a handle: of these a test learns what the code says without knowing what is expected
OPERATORS = (
    "len",
    "getitem",
    "setitem",
    "delitem",
    "iter",
    "next",
    "int",
    "float",
    "str",
    "repr",
    "hash",
    "enter",
    "exit",
)
# and these know the other side, so they give another handle or compare two of them, and no plain value
ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "neg", "abs", "and", "or", "xor")
ORDER = ("lt", "le", "gt", "ge")
BUILT_IN = frozenset(dir(builtins))
SURE = frozenset(n for kind in (str, set, float) for n in dir(kind) if n.startswith(("is", "startswith", "endswith")))


class CodeEnded(BaseException):
    """The code's process has ended: no test may take this for an exception of the code."""


class RemoteError(Exception):
    """An exception of the code whose class is not built in."""


class Link:
    """Messages and values as JSON over two descriptors; the other side has handles of `objects`."""

    def __init__(self, source: int, target: int, handle: Callable[[Link, int], Any]) -> None:
        self.source, self.target, self.handle = os.fdopen(source, "rb"), os.fdopen(target, "wb"), handle
        self.objects: list[Any] = []

    def send(self, message: Any) -> None:
        content = json.dumps(message).encode()
        self.target.write(len(content).to_bytes(8, "big") + content)
        self.target.flush()

    def receive(self) -> Any:
        size = int.from_bytes(self._exactly(8), "big")
        if size > MOST_BYTES:
            raise CodeEnded("a message is too long")
        content = self._exactly(size)
        try:
            return json.loads(content)
        except ValueError:
            raise CodeEnded("no message") from None

    def _exactly(self, size: int) -> bytes:
        content = self.source.read(size)
        if len(content) < size:
            raise CodeEnded("its process has ended")
        return content

    def encode(self, value: Any) -> Any:
        """Return a value as JSON: plain values by type, all others as a handle."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind is Remote:
            return {"own": object.__getattribute__(value, "_number")}
        if isinstance(value, dict):
            return {"dict": [[self.encode(k), self.encode(v)] for k, v in dict.items(value)]}
        bases: tuple[Any, ...] = (list, tuple, set, frozenset)
        for base in bases:
            if isinstance(value, base):
                return {base.__name__: [self.encode(v) for v in base.__iter__(value)]}
        if isinstance(value, bytes | bytearray):
            return {kind.__name__: value.hex()}
        if kind in (complex, Decimal, Fraction, range):
            parts = {complex: (_real, _imag), range: (_start, _stop, _step)}.get(kind)
            return {kind.__name__: [part(value) for part in parts] if parts else str(value)}
        self.objects.append(value)
        return {"handle": len(self.objects) - 1}

    def decode(self, value: Any) -> Any:
        """Return the value of its JSON. Raises CodeEnded for JSON that `encode` does not write."""
        if isinstance(value, PLAIN):
            return value
        try:
            ((kind, content),) = value.items()
            if kind == "dict":
                return {self.decode(k): self.decode(v) for k, v in content}
            return DECODERS[kind](self, content)
        except (AttributeError, KeyError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise CodeEnded(f"no message: {error}") from None


def _real(value: complex) -> float:
    return value.real


def _imag(value: complex) -> float:
    return value.imag


def _start(value: range) -> int:
    return value.start


def _stop(value: range) -> int:
    return value.stop


def _step(value: range) -> int:
    return value.step


DECODERS: dict[str, Callable[[Link, Any], Any]] = {
    "list": lambda link, content: [link.decode(v) for v in content],
    "tuple": lambda link, content: tuple(link.decode(v) for v in content),
    "set": lambda link, content: {link.decode(v) for v in content},
    "frozenset": lambda link, content: frozenset(link.decode(v) for v in content),
    "bytes": lambda link, content: bytes.fromhex(content),
    "bytearray": lambda link, content: bytearray.fromhex(content),
    "complex": lambda link, content: complex(*content),
    "range": lambda link, content: range(*content),
    "Decimal": lambda link, content: Decimal(content),
    "Fraction": lambda link, content: Fraction(content),
    "handle": lambda link, content: link.handle(link, int(content)),
    "own": lambda link, content: link.objects[int(content)],
}


class Remote:
    """A handle of an object of the code, in the tests' process."""

    def __init__(self, link: Link, number: int) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name: str) -> Any:
        if name in SURE:  # of a text, a set, a number, which would have come as what they are
            raise AttributeError(name)
        return _ask(self, "getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "setattr", name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _ask(self, "call", list(args), kwargs)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and _ask(self, "isinstance", value) is True

    def __eq__(self, other: object) -> bool:  # equality with a plain value is never the code's to say
        return isinstance(other, Remote) and _ask(self, "eq", other) is True

    def __bool__(self) -> bool:
        return True


def _ask(remote: Remote, what: str, *arguments: Any) -> Any:
    link: Link = object.__getattribute__(remote, "_link")
    link.send([what, object.__getattribute__(remote, "_number"), [link.encode(a) for a in arguments]])
    while True:
        match link.receive():
            case ["callback", number, values]:  # a function that the tests gave to the code
                link.send(_answer(link, lambda n=number, v=values: _called(link, n, v)))
            case ["value", value, changed]:
                _restore(link, arguments[0] if what == "call" else [], changed)
                return link.decode(value)
            case ["error", str(name), str(text)]:
                kind = getattr(builtins, name, None)
                fitting = isinstance(kind, type) and issubclass(kind, Exception)
                raise (kind if fitting else RemoteError)(text)  # type: ignore[misc]
            case _:
                raise CodeEnded("no message")


def _called(link: Link, number: int, values: Any) -> Any:
    function = link.objects[number]
    return function(*[link.decode(v) for v in values])


def _answer(link: Link, function: Callable[[], Any]) -> list[Any]:
    try:
        return ["value", link.encode(function()), []]
    except Exception as error:
        return ["error", type(error).__name__, str(error)[:500]]


def _restore(link: Link, arguments: Any, changed: Any) -> None:
    """Bring arguments to the state that a call has left them in, for functions that work in place."""
    for argument, state in zip(arguments, changed, strict=False):
        if type(argument) in (list, bytearray) and type(new := link.decode(state)) is type(argument):
            argument[:] = new
        elif type(argument) in (dict, set) and type(new := link.decode(state)) is type(argument):
            argument.clear()
            argument.update(new)


def _operator(name: str) -> Any:
    def method(self: Remote, *arguments: Any) -> Any:
        if name == "exit":
            arguments = (None, None, None)
        if name in ORDER and not isinstance(arguments[0], Remote):
            return NotImplemented
        value = _ask(self, "operator", f"__{name}__", *arguments)
        if name in ARITHMETIC and not isinstance(value, Remote):
            raise TypeError("arithmetic with an object of the code gave no object")
        return value

    return method


for _name in [*OPERATORS, *ARITHMETIC, *ORDER]:
    setattr(Remote, f"__{_name}__", _operator(_name))


def tests() -> None:
    """Run tests against the code of the other process; standard input: JSON of the tests and two descriptors.

    A test is a top-level `assert`, a top-level call or a function `test_...`. Prints [passed, total], or a string.
    """
    text, source, target = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        outcome: Any = f"the tests are no Python: {type(error).__name__}: {error}"
    else:
        outcome = _outcome(body, Link(source, target, Remote))
    out.write(json.dumps(outcome))
    out.flush()


def _outcome(body: list[ast.stmt], link: Link) -> Any:
    own = {n.name for n in body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")}
    total = len(own) + sum(map(_is_test, body))
    if not total:
        return "there is no test: no top-level `assert`, no call and no function `test_...`"
    names: dict[str, Any] = {"__name__": "tests"}
    passed = 0
    try:
        offered = link.receive()
        read = {n.id for each in body for n in ast.walk(each) if isinstance(n, ast.Name)}
        if set(offered) & BUILT_IN & read:  # who redefines `len` or `sorted` could pass everything
            return [0, total]
        names |= {str(k): link.decode(v) for k, v in offered.items() if k not in BUILT_IN}
        for each in body:
            passed += _holds(each, names) and _is_test(each)
        for name in sorted(own):
            passed += _holds(ast.parse(f"{name}()").body[0], names)
    except CodeEnded:
        pass
    return [int(passed), total]


def _is_test(node: ast.stmt) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return isinstance(node, ast.Assert)
    return not (isinstance(node.value.func, ast.Name) and node.value.func.id == "print")


def _holds(node: ast.stmt, names: dict[str, Any]) -> bool:
    try:
        exec(compile(ast.Module([node], []), "<tests>", "exec"), names)
    except Exception:
        return False
    return True


def code() -> None:
    """Run code and answer the calls of the tests; standard input: JSON of the code and two descriptors."""
    text, source, target = json.load(sys.stdin)
    random.seed(0)
    names: dict[str, Any] = {"__name__": "solution"}  # no `__main__`, whose block reads the input or runs for ever
    link = Link(source, target, _caller)
    exec(compile(text, "<code>", "exec"), names)
    own = {k: v for k, v in names.items() if not k.startswith("__") and not isinstance(v, ModuleType)}
    link.send({k: link.encode(v) for k, v in own.items()})
    while True:
        what, number, arguments = link.receive()
        given = [link.decode(a) for a in arguments]
        changed = [] if what != "call" else given[0]

        def result(what: str = what, number: int = number, given: list[Any] = given) -> Any:
            return ACTIONS[what](link.objects[number], *given)

        answer = _answer(link, result)
        if answer[0] == "value":
            answer[2] = [link.encode(a) if type(a) in (list, dict, set, bytearray) else None for a in changed]
        link.send(answer)


def _caller(link: Link, number: int) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        link.send(["callback", number, [link.encode(a) for a in arguments]])
        kind, *rest = link.receive()
        if kind == "error":
            found = getattr(builtins, rest[0], RemoteError)
            raise found(rest[1])
        return link.decode(rest[0])

    return call


ACTIONS: dict[str, Callable[..., Any]] = {
    "getattr": getattr,
    "setattr": setattr,
    "call": lambda value, args, kwargs: value(*args, **kwargs),
    "isinstance": lambda value, other: isinstance(other, value),
    "eq": lambda value, other: bool(value == other),
    "operator": lambda value, name, *args: _operated(value, name, *args),
}


def _operated(value: Any, name: str, *arguments: Any) -> Any:
    method = getattr(type(value), name, None)
    result = NotImplemented if method is None else method(value, *arguments)
    if result is NotImplemented:
        raise TypeError(f"no {name} of {type(value).__name__!r}")
    return result


def attempts() -> None:
    """Print the names of the forbidden things that succeed here."""
    forbidden: dict[str, Callable[[], Any]] = {
        "new processes": lambda: os.fork() or os._exit(0),
        "sockets": socket.socket,
        "reading files": lambda: os.listdir("/"),
        "writing files": lambda: os.close(os.open("/tmp", os.O_TMPFILE | os.O_WRONLY)),
        "changing modes": lambda: os.chmod(".", 0o755),
        "other programs": lambda: os.execv(sys.executable, [sys.executable, "-c", "print(['programs'])"]),
    }
    sys.stdout.write(json.dumps(list(_succeed(forbidden))))
    sys.stdout.flush()


def _succeed(forbidden: dict[str, Callable[[], Any]]) -> Iterator[str]:
    for name, attempt in forbidden.items():
        try:
            attempt()
        except OSError:
            continue
        yield name
