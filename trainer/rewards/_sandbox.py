"""Processes for code that nobody trusts: no network, no files but the interpreter's, limits that the kernel holds.

Linux gives what is needed to everybody: user namespaces, Landlock and seccomp; see `_sandboxed`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, Field

from windtunnel.schemas.errors import InputError

SETUP_FAILED = 77  # exit code, as in `_sandboxed`
INSIDE = Path(__file__).with_name("_sandboxed.py")
PROGRAM = Path(__file__).with_name("_remote_calls.py")
# one order of sets of strings for all processes, which -I would not let through; -P and -s are the rest of -I
COMMAND = (sys.executable, "-P", "-s", "-S", "-X", "utf8")
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
START_SECONDS = 60


class Limits(BaseModel):
    """What a process may use."""

    model_config = ConfigDict(frozen=True)
    isolated: bool = True  # False: the limits alone, for code that is trusted
    cpu_seconds: int = Field(default=2, ge=1)
    memory_bytes: int = Field(default=1 << 29, ge=1 << 26)  # of addresses, interpreter included
    disk_bytes: int = Field(default=1 << 24, ge=1)


@contextlib.contextmanager
def started(
    function: str, limits: Limits, stdin: int | IO[bytes], stdout: int | IO[bytes], pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a function of the program `_remote_calls` in a sandbox, and end all that runs there after the block."""
    with tempfile.TemporaryDirectory(prefix="windtunnel-", ignore_cleanup_errors=True) as directory:
        process = subprocess.Popen(
            [*COMMAND, str(INSIDE), str(PROGRAM), function, directory, limits.model_dump_json()],
            stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=ENVIRONMENT, pass_fds=pass_fds,
            cwd="/", start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whose child dies with it, and all processes of its namespace
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def check_started(process: subprocess.Popen[bytes], said: bytes | None = None) -> None:
    """Raise InputError for a sandbox that could not be set up, which says nothing about the code."""
    if process.poll() == SETUP_FAILED:
        text = bytes(process.stderr.read() if said is None and process.stderr is not None else said or b"")
        raise InputError(f"a sandbox for code of models did not start: {text.decode(errors='replace')[-300:]}")


def check_isolation(limits: Limits) -> None:
    """Try what a sandbox must refuse. Raises InputError where the kernel or its settings do not isolate."""
    if not limits.isolated:
        return
    with started("attempts", limits, subprocess.DEVNULL, subprocess.PIPE) as process:
        try:
            out, errors = process.communicate(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            out, errors = b"", b"it did not start in time"
    try:
        succeeded = json.loads(out)
    except ValueError:
        raise InputError(
            "code of models is run in a sandbox, and there is none on this machine: "
            f"{errors.decode(errors='replace').strip()[-300:] or 'it ended without a word'}. It takes Linux 6.2 with "
            "Landlock, seccomp and user namespaces for everybody (on Ubuntu `sysctl "
            "kernel.apparmor_restrict_unprivileged_userns=0`). With `isolation: none` the code runs with your rights, "
            "which is for code that you trust"
        ) from None
    if succeeded:
        raise InputError(f"the sandbox for code of models does not hold on this machine: it allows {succeeded}")
