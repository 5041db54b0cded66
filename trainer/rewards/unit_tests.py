"""Tests that the Python code of a reply passes, in a sandbox."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Literal

from pydantic import Field

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.rewards._reward import MOST_FAILED, Example, Places, Reply, Reward, Scorer, Scores
from windtunnel.trainer.rewards._sandbox import Limits, check_isolation, check_started, started

FENCE = re.compile(r"^```[^\n`]*\n(.*?)(?:^```|\Z)", re.MULTILINE | re.DOTALL)
MOST_RESULT = 1 << 16  # bytes
_TRUSTED: dict[str, Any] = {"isolation": "none"}


class UnitTests(Reward):
    """The share of tests that a reply's code passes, the last fenced block or all of it; with `all`, 1 or 0.

    Tests are the row's answer, or `tests` for all rows: each top-level `assert`, each top-level call and each function
    `test_...` is one. Code and tests run in two sandboxed processes, without packages, network, files and processes of
    their own; tests see plain values of built-in types, and the code sees no tests. So an object of the code equals no
    plain value, exceptions are known by built-in classes, and tests import what they use. What a test asks of a method
    of an object is the code's word. Code that takes too long, too much memory, or redefines a built-in name that the
    tests read has the reward 0.
    """

    primary: ClassVar[str | None] = "count"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("```python\ndef add(a, b):\n    return a + b\n```", 1.0, "assert add(1, 2) == 3", _TRUSTED),
        Example("def add(a, b):\n    return 3", 0.5, "assert add(1, 2) == 3\nassert add(2, 2) == 4", _TRUSTED),
        Example("def add(a, b):\n    return 3", 0.0, params={**_TRUSTED, "count": "all", "tests": "add(1)\nadd(1, 2)"}),
        Example("I do not know.", 0.0, "assert add(1, 2) == 3", _TRUSTED),
    )

    count: Literal["share", "all"] = "share"
    tests: str | None = None
    isolation: Literal["sandbox", "none"] = "sandbox"  # none: the code may do what you may, within limits
    seconds: int = Field(2, ge=1)  # processor time of the code, and of the tests
    wall_seconds: float = Field(40.0, gt=0)  # of both together
    memory: int = Field(512, ge=64)  # MiB of each
    parallel: int = Field(2, ge=1)  # replies at a time

    @property
    def asks_answer(self) -> bool:
        """Whether the rows' answers are the tests."""
        return self.tests is None

    def scorer(self, places: Places) -> Scorer:
        """Return what scores replies; see Reward."""
        limits = Limits(isolated=self.isolation != "none", cpu_seconds=self.seconds, memory_bytes=self.memory << 20)
        check_isolation(limits)

        def score(replies: Sequence[Reply]) -> Scores:
            with ThreadPoolExecutor(self.parallel) as pool:
                outcomes = list(pool.map(lambda reply: self._outcome(reply, limits), replies))
            wrong = [k for k, outcome in enumerate(outcomes) if isinstance(outcome, str)]
            if len(wrong) > MOST_FAILED * len(replies):
                raise InputError(
                    f"the reward {label(self)!r} cannot run the tests of {len(wrong)} of {len(replies)} replies, first "
                    f"of row {one_line(replies[wrong[0]].row, 60)}: {one_line(str(outcomes[wrong[0]]), 200)}"
                )
            return Scores([0.0 if isinstance(o, str) else self._reward(*o) for o in outcomes], len(wrong))

        return score

    def _reward(self, passed: int, total: int) -> float:
        return float(passed == total) if self.count == "all" else passed / total

    def _outcome(self, reply: Reply, limits: Limits) -> tuple[int, int] | str:
        """Return the numbers of tests passed and of all, or what is wrong with the tests."""
        blocks = FENCE.findall(reply.text)
        tests = self.tests if self.tests is not None else reply.answer or ""
        result = run(blocks[-1] if blocks else reply.text, tests, limits, self.wall_seconds)
        return (0, 1) if result is None else result


def run(code: str, tests: str, limits: Limits, wall_seconds: float) -> tuple[int, int] | str | None:
    """Return how many tests the code passes and how many there are; a string: no tests; None: no result in time."""
    to_code, from_tests = os.pipe()
    to_tests, from_code = os.pipe()
    ends = {to_code, from_tests, to_tests, from_code}
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [os.close(end) for end in ends])
        started_ones = []
        for function, text, pipes in (
            ("code", code, (to_code, from_code)),
            ("tests", tests, (to_tests, from_tests)),
        ):
            out = subprocess.DEVNULL if function == "code" else subprocess.PIPE
            process = stack.enter_context(started(function, limits, subprocess.PIPE, out, pipes))
            started_ones.append((process, json.dumps([text, *pipes]).encode()))
            for end in pipes:
                os.close(end)
                ends.discard(end)
        (coder, given), (tester, asked) = started_ones
        assert coder.stdin is not None
        with contextlib.suppress(BrokenPipeError), coder.stdin:
            coder.stdin.write(given)
        result = _result(tester, asked, wall_seconds)
        check_started(coder)
        return result


def _result(tester: subprocess.Popen[bytes], asked: bytes, wall_seconds: float) -> tuple[int, int] | str | None:
    try:
        out, said = tester.communicate(asked, timeout=wall_seconds)
    except subprocess.TimeoutExpired:
        return None
    check_started(tester, said)
    if not out or len(out) > MOST_RESULT:
        return None
    found = json.loads(out)
    return found if isinstance(found, str) else (int(found[0]), int(found[1]))
