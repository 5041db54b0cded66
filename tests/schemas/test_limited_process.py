"""Calls in a process with limits: what goes over them is ended, and the next call is answered."""

import os
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.limited_process import CallFailed, LimitedProcess, LimitExceeded


@pytest.fixture(scope="module")
def evaluator():
    return LimitedProcess("builtins:eval", cpu_seconds=1, memory_bytes=1 << 28, reply_bytes=1 << 16)


@pytest.mark.parametrize(
    ("expression", "limit"),
    [
        ("sum(k for k in range(10**12))", "time"),
        ("10**10**10 % 7", "time"),  # one C function, which holds the interpreter's lock
        ("'a' * 10**10", "memory"),
        ("[[0] * 10**6 for _ in range(10**6)]", "memory"),
        ("'a' * 10**6", "size"),
        ("__import__('os')._exit(3)", "memory"),  # ended by another hand, as by the kernel without memory
    ],
)
def test_what_goes_over_a_limit_is_ended_alone(evaluator, expression, limit):
    with pytest.raises(LimitExceeded) as caught:
        evaluator.call(expression)
    assert caught.value.limit == limit
    assert evaluator.call("6 * 7") == 42


def test_an_exception_comes_back_with_its_name_and_the_process_goes_on(evaluator):
    first = evaluator.call("__import__('os').getpid()")
    with pytest.raises(CallFailed, match="division by zero") as caught:
        evaluator.call("1 / 0")
    assert caught.value.kind == "ZeroDivisionError"
    assert evaluator.call("print('no reply') or __import__('os').getpid()") == first


def test_threads_get_their_own_replies(evaluator):
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda k: evaluator.call(f"{k} * '\\udc80'"), range(50))) == [
            k * "\udc80" for k in range(50)
        ]


def test_a_fork_has_a_process_of_its_own_and_takes_no_reply_of_the_parent(evaluator):
    first = evaluator.call("__import__('os').getpid()")
    child = os.fork()
    if child == 0:
        other = evaluator.call("__import__('os').getpid()")
        os._exit(0 if other != first else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert evaluator.call("__import__('os').getpid()") == first


def test_the_process_ends_with_the_object():
    process = LimitedProcess("builtins:eval", cpu_seconds=1, memory_bytes=1 << 28, reply_bytes=1 << 16)
    number = process.call("__import__('os').getpid()")
    del process
    assert not psutil.pid_exists(number)


def test_a_function_that_cannot_be_imported_is_named():
    process = LimitedProcess("windtunnel.nowhere:f", cpu_seconds=1, memory_bytes=1 << 28, reply_bytes=1 << 16)
    with pytest.raises(WindtunnelError, match=r"windtunnel\.nowhere:f did not start: ModuleNotFoundError"):
        process.call()
