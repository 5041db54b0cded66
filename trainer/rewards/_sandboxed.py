"""The inside of a sandbox: `_sandbox` starts this file as a script, which needs the standard library alone.

A process in namespaces of its own (users, network, processes, IPC, mounts) runs one function of a program file.
Landlock lets it read the interpreter's libraries and write its directory, a small tmpfs; seccomp takes away what
Landlock does not see: new processes, sockets, owners and modes of files, other processes, mounts.
"""

# ruff: noqa: PTH110, PTH112
# (pathlib takes longer to import than a test to run)

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import sys
import sysconfig
from typing import Any, NoReturn

SETUP_FAILED = 77  # exit code
NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 1 << 14, 1 << 18
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
LANDLOCK = (444, 445, 446)  # system calls create_ruleset, add_rule, restrict_self, on all machines
LEAST_LANDLOCK = 3  # before, files outside could be truncated
READ_FILE, READ_DIR = 1 << 2, 1 << 3
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/usr/share/zoneinfo")
DEVICES = ("/dev/null", "/dev/urandom")

# numbers of refused system calls: (AUDIT_ARCH, clone, prctl, others)
_ALIKE = (425, 428, 429, 430, 431, 432, 433, 434, 438, 442, 447, 452, 463, 466, 469)  # io_uring_setup to file_setattr
REFUSED = {
    "x86_64": (
        0xC000003E, 56, 157,
        (57, 58, 59, 322, 41, 42, 49, 101, 310, 311, 272, 308, 165, 166, 155, 161, 321, 298, 323, 248, 249, 250, 246,
         304, 90, 91, 268, 92, 93, 94, 260, 132, 235, 261, 280, 188, 189, 190, 197, 198, 199, 135,
         *range(29, 32), *range(64, 72), 220, 240, 241, 319, *_ALIKE),
    ),
    "aarch64": (
        0xC00000B7, 220, 167,
        (221, 281, 198, 203, 200, 117, 270, 271, 97, 268, 40, 39, 41, 51, 280, 241, 282, 217, 218, 219, 104, 265, 52,
         53, 55, 54, 88, 5, 6, 7, 14, 15, 16, 92, 180, 181, *range(186, 198), 279, *_ALIKE),
    ),
}  # fmt: skip
CLONE3, CLONE_THREAD = 435, 0x10000
X32 = 0x40000000  # numbers of x86_64's other interface
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of the classic BPF
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38

libc = ctypes.CDLL(None, use_errno=True)


def main(program: str, function: str, directory: str, settings: str) -> None:
    """Run a function of a program file in a child; settings: limits as JSON, see `_sandbox.Limits`."""
    limits = json.loads(settings)
    with open(program, encoding="utf-8") as file:
        code = compile(file.read(), "<program>", "exec")
    _end_with_parent()
    if limits["isolated"]:
        _namespaces(directory, limits["disk_bytes"])
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.close(told)
        _child(code, function, directory, limits, tell)
    os.close(tell)
    trouble = os.read(told, 4096)
    if trouble:
        _fail(trouble.decode())
    os.waitpid(child, 0)


def _child(code: Any, function: str, directory: str, limits: dict[str, Any], tell: int) -> NoReturn:
    try:
        _end_with_parent()
        os.chdir(directory)
        names: dict[str, Any] = {"__name__": "program"}
        nowhere = os.open("/dev/null", os.O_WRONLY)
        exec(code, names)
        _limit(limits)
        if limits["isolated"]:
            _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            _landlock(directory)
            _no_capabilities()
            _seccomp()
    except BaseException as error:
        os.write(tell, f"{error}"[:4000].encode() or b"?")
        os._exit(0)
    os.close(tell)
    os.dup2(nowhere, 2)
    try:
        names[function]()
    finally:
        os._exit(0)


def _end_with_parent() -> None:
    if hasattr(libc, "prctl"):  # Linux alone
        _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _fail(text: str) -> NoReturn:
    os.write(2, text.encode())
    os._exit(SETUP_FAILED)


def _call(name: str, *arguments: Any) -> int:
    given = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    result = getattr(libc, name)(*given)
    if result < 0:
        shown = f"{name}({arguments[0]})" if name in ("syscall", "prctl") else name
        raise OSError(f"{shown}: {os.strerror(ctypes.get_errno())}")
    return result


def _namespaces(directory: str, disk_bytes: int) -> None:
    user, group = os.getuid(), os.getgid()
    _call("unshare", NEWUSER | NEWNET | NEWPID | NEWIPC | NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    options = f"size={disk_bytes},nr_inodes=1024,mode=700".encode()
    _call("mount", b"tmpfs", directory.encode(), b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)


def _limit(limits: dict[str, Any]) -> None:
    sys.set_int_max_str_digits(0)  # the time is limited already
    for name, most in (
        ("RLIMIT_CORE", 0),
        ("RLIMIT_CPU", limits["cpu_seconds"]),
        ("RLIMIT_AS", limits["memory_bytes"]),
        ("RLIMIT_FSIZE", limits["disk_bytes"]),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_NPROC", 64 if limits["isolated"] else None),  # counts all of the user's, without a namespace
    ):
        if most is not None:
            resource.setrlimit(getattr(resource, name), (most, most))


class _Rules(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("descriptor", ctypes.c_int32)]


def _landlock(directory: str) -> None:
    create, add, restrict = LANDLOCK
    version = _call("syscall", create, None, 0, 1)
    if version < LEAST_LANDLOCK:
        raise OSError(f"Landlock has version {version} here, and {LEAST_LANDLOCK} is needed (Linux 6.2)")
    everything = (1 << (15 if version < 5 else 16)) - 1
    rules = _Rules(everything, 3, 3)  # no TCP; no signals and abstract sockets to outside
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call("syscall", create, ctypes.byref(rules), size, 0)
    paths = sysconfig.get_paths()
    readable = {paths["stdlib"], paths["platstdlib"], sysconfig.get_config_var("LIBDIR") or "", *LIBRARIES, *DEVICES}
    for path, allowed in [*((path, READ_FILE | READ_DIR) for path in sorted(readable)), (directory, everything)]:
        if not os.path.exists(path):
            continue
        descriptor = os.open(path, os.O_PATH)
        right = allowed if os.path.isdir(path) else READ_FILE
        _call("syscall", add, ruleset, 1, ctypes.byref(_Beneath(right, descriptor)), 0)
        os.close(descriptor)
    _call("syscall", restrict, ruleset, 0)
    os.close(ruleset)


def _no_capabilities() -> None:
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _call("capset", ctypes.byref(header), ctypes.byref(sets))


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def _seccomp() -> None:
    if platform.machine() not in REFUSED:
        raise OSError(f"no table of system calls for {platform.machine()}, only for {' and '.join(REFUSED)}")
    architecture, clone, prctl, numbers = REFUSED[platform.machine()]
    refuse = (RETURN, 0, 0, ERRNO | EPERM)
    lines = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL)]
    lines += [(LOAD, 0, 0, 0), (AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL)]
    lines += [line for number in numbers for line in ((EQUAL, 0, 1, number), refuse)]
    lines += [
        (EQUAL, 0, 1, CLONE3),
        (RETURN, 0, 0, ERRNO | ENOSYS),
    ]  # its flags lie in memory; libraries take clone then
    lines += [(EQUAL, 0, 3, clone), (LOAD, 0, 0, 16), (ANY_BIT, 1, 0, CLONE_THREAD), refuse, (LOAD, 0, 0, 0)]
    lines += [(EQUAL, 0, 3, prctl), (LOAD, 0, 0, 16), (EQUAL, 0, 1, PR_SET_PDEATHSIG), refuse]
    lines += [(RETURN, 0, 0, ALLOW)]
    filters = (_Instruction * len(lines))(*(_Instruction(*line) for line in lines))
    program = _Program(len(lines), ctypes.cast(filters, ctypes.POINTER(_Instruction)))
    _call("prctl", PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as problem:
        _fail(str(problem))
