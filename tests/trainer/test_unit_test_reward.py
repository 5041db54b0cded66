"""Code of replies is tested in a sandbox: it gets what it earns, cannot fake it, and touches nothing."""

from __future__ import annotations

import os
import platform
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.rewards import _sandbox
from windtunnel.trainer.rewards._reward import Places, Reply, Reward
from windtunnel.trainer.rewards._sandbox import Limits, check_isolation
from windtunnel.trainer.rewards.unit_tests import run


def lacking() -> str:
    try:
        check_isolation(Limits())
    except InputError as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(lacking()), reason=lacking() or "-")

LIMITS = Limits(cpu_seconds=1, memory_bytes=1 << 28)
ADD = "assert add(1, 2) == 3\nassert add(5, 5) == 10"


def passed(code: str, tests: str = ADD, wall_seconds: float = 30.0) -> tuple[int, int]:
    result = run(code, tests, LIMITS, wall_seconds)
    return (0, 1) if result is None else result  # type: ignore[return-value]


RAISED = """
import ctypes
def raised(result):
    if result < 0: raise OSError(ctypes.get_errno(), "refused")
"""


def seen(expression: str, before: str = "", limits: Limits = LIMITS) -> object:
    """Return what an expression is in the sandbox: `True` where it has that value, else the error's name."""
    code = f"{before}\ndef find():\n    try:\n        return repr({expression})\n"
    code += "    except BaseException as e:\n        return type(e).__name__\n"
    for guess in ("PermissionError", "ProcessLookupError", "OSError"):
        if run(code, f"assert find() == {guess!r}", limits, 30) == (1, 1):
            return guess
    return None


@pytest.mark.parametrize(
    ("code", "tests", "expected"),
    [
        ("def add(a, b): return a + b", ADD, (2, 2)),
        ("def add(a, b): return 3", ADD, (1, 2)),
        ("def add(a, b: return", ADD, (0, 2)),
        ("def add(a, b): raise ValueError('no')", "try:\n add(1, 2)\nexcept ValueError:\n ok = 1\nassert ok", (1, 1)),
        ("def sort(x): x.sort()", "x = [3, 1]\nsort(x)\nassert x == [1, 3]", (2, 2)),
        ("def twice(f, x): return f(f(x))", "assert twice(lambda x: x + 1, 1) == 3", (1, 1)),
        ("def g():\n    yield 1\n    yield 'a'", "assert list(g()) == [1, 'a']", (1, 1)),
        ("from collections import Counter\ndef f(x): return Counter(x)", "assert f('aab') == {'a': 2, 'b': 1}", (1, 1)),
        ("def f(): return {(1, 2.5): {3}, b'x': None, True: 1 + 2j}",
         "assert f() == {(1, 2.5): {3}, b'x': None, True: 1 + 2j}", (1, 1)),
        ("def f(n): return 10 ** n", "assert f(5000) == 10 ** 5000", (1, 1)),
        ("class V:\n    def __init__(s, x): s.x = x\n    def __add__(s, o): return V(s.x + o.x)\n"
         "    def __eq__(s, o): return s.x == o.x\n    def __len__(s): return s.x\n"
         "    def __iter__(s): return iter([s.x])",
         "def test_v():\n    v = V(1) + V(2)\n    assert v == V(3) and v != V(4) and len(v) == 3 and isinstance(v, V)\n"
         "    v.x = 7\n    assert v.x == 7 and 7 in v and list(v) == [7]", (1, 1)),
        ("def add(a, b): return a + b", "def check(f):\n    assert f(1, 2) == 3\ncheck(add)", (1, 1)),
    ],
)  # fmt: skip
def test_code_gets_the_tests_that_it_passes(code, tests, expected):
    assert passed(code, tests) == expected


FAKES = {
    "equal to all": """
class E:
    def __eq__(s, o): return True
    def __ne__(s, o): return False
def add(a, b): return E()
""",
    "equal int": """
class E(int):
    def __eq__(s, o): return True
    __hash__ = None
def add(a, b): return E(0)
""",
    "near all": """
class E:
    def __gt__(s, o): return True
    def __sub__(s, o): return s
    __rsub__ = __sub__
    def __abs__(s): return 0.0
    def __lt__(s, o): return True
    def __float__(s): return 0.0
def add(a, b): return E()
""",
    "contains all": """
class E(str):
    def __contains__(s, o): return True
    def startswith(s, o): return True
def add(a, b): return E()
""",
    "exit": """
import os
print('[2, 2]', flush=True)
os._exit(0)
""",
    "exit later": """
import os
def add(a, b): os._exit(0)
""",
    "every descriptor": """
import os
for fd in range(64):
    for text in (b'[2, 2]', b'\\0' * 7 + b'\\6[2, 2]'):
        try: os.write(fd, text)
        except OSError: pass
def add(a, b): return None
""",
    "builtins": """
import builtins
builtins.AssertionError = ValueError
def add(a, b): return None
def abs(x): return 0
""",
    "the stack": """
import sys
def add(a, b):
    f = sys._getframe()
    while f:
        f.f_globals.update(ACTIONS={'call': lambda *a: 0}, passed=2, total=2)
        f = f.f_back
    return None
""",
    "gc": """
import gc
def add(a, b):
    for o in gc.get_objects():
        if type(o) is dict: o['passed'] = 2
    return None
""",
    "forged messages": """
import gc
for o in gc.get_objects():
    if type(o).__name__ == 'Link':
        o.send({'add': {'handle': 0}})
        [o.send(['value', True, []]) for _ in range(9)]
""",
    "own objects": """
import gc
for o in gc.get_objects():
    if type(o).__name__ == 'Link':
        o.send({'add': {'own': 0}})
""",
    "deep": """
import gc
for o in gc.get_objects():
    if type(o).__name__ == 'Link':
        o.target.write((200000).to_bytes(8, 'big') + b'[' * 200000)
        o.target.flush()
""",
    "long": """
import gc
for o in gc.get_objects():
    if type(o).__name__ == 'Link':
        o.target.write(b'\\xff' * 100)
        o.target.flush()
while 1: pass
""",
    "read the tests": """
import gc, os, glob
def add(a, b):
    for f in glob.glob('/proc/*/fd/*') + glob.glob('/tmp/*'):
        try: exec(open(f).read())
        except BaseException: pass
    return None
""",
    "assertion": """
def add(a, b): raise AssertionError
""",
    "stop": """
def add(a, b): raise StopIteration
""",
}  # fmt: skip
CHECKS = """
def near(): assert abs(add(1, 2) - 3) < 1e-6
def above(): assert add(1, 2) > 2
def inside(): assert 'three' in add(1, 2)
def starts(): assert add(1, 2).startswith('th')
def none():
    try: add(1, 2)
    except Exception: raise
    assert False
assert add(1, 2) == 3
assert 10 == add(5, 5)
assert [add(1, 2)] == [3]
assert {'a': (add(1, 2),)} == {'a': (3,)}
assert add(1, 2) in [3]
near()
above()
inside()
starts()
none()
"""


def test_a_process_that_ends_is_no_exception_and_a_built_in_name_no_code():
    refuses = "def test_it():\n    try:\n        add(None)\n    except Exception:\n        return\n    assert False"
    assert passed("def add(a): raise ValueError", refuses) == (1, 1)
    assert passed("import os\ndef add(a): os._exit(0)", refuses) == (0, 1)
    assert passed("def add(a): raise SystemExit", refuses) == (0, 1)
    assert passed("def sum(x): return 0", "assert sum([1]) == 1") == (0, 1)


@pytest.mark.parametrize("name", FAKES)
def test_a_score_cannot_be_faked(name):
    assert passed(FAKES[name], CHECKS)[0] == 0


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "def add(a, b):\n    while True: pass",
        "x = ' ' * (1 << 29)\ndef add(a, b): return a + b",
        "x = []\nwhile True: x.append(' ' * 1000000)",
        "def add(a, b): return add(a, b)",
        "import os\ntry:\n    while True: os.fork()\nexcept OSError: pass\nwhile True: pass",
        "import threading, time\nfor _ in range(10000): threading.Thread(target=time.sleep, args=(99,)).start()",
        "def add(a, b): return 'x' * (1 << 26)",
    ],
)
def test_limits_end_the_code_and_not_the_run(code):
    assert passed(code)[0] == 0


def test_code_that_sleeps_ends_with_the_wall_clock():
    begun = time.monotonic()
    assert run("import time\ntime.sleep(999)", ADD, LIMITS, 2.0) is None
    assert time.monotonic() - begun < 20


def test_much_output_is_harmless():
    code = "import sys\nfor _ in range(300): print('x' * 100000)\nsys.stderr.write('y' * 10**7)\n"
    assert passed(f"{code}def add(a, b): return a + b") == (2, 2)


@pytest.mark.parametrize(
    ("expression", "before"),
    [
        ("open('/etc/passwd').read()", ""),
        ("os.listdir(os.path.expanduser('~root'))", "import os"),
        ("os.listdir('/')", "import os"),
        ("open('/proc/self/environ').read()", ""),
        ("open('OUTSIDE', 'w')", ""),
        ("open('OUTSIDE').read()", ""),
        ("os.truncate('OUTSIDE', 0)", "import os"),
        ("os.chmod('OUTSIDE', 0)", "import os"),
        ("os.utime('OUTSIDE', (0, 0))", "import os"),
        ("os.unlink('OUTSIDE')", "import os"),
        ("os.link('OUTSIDE', 'x')", "import os"),
        ("os.symlink('x', 'OUTSIDE2')", "import os"),
        ("socket.create_connection(('127.0.0.1', PORT))", "import socket"),
        ("socket.socket(socket.AF_UNIX)", "import socket"),
        ("os.fork()", "import os"),
        ("subprocess.run(['/bin/true'])", "import subprocess"),
        ("raised(ctypes.CDLL(None, use_errno=True).ptrace(0, 0, 0, 0))", RAISED),
        ("os.kill(PARENT, 9)", "import os"),
    ],
)  # fmt: skip
def test_what_lies_outside_is_out_of_reach(expression, before, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("precious")
    state = outside.stat()
    with socket.create_server(("127.0.0.1", 0)) as server:
        shown = expression.replace("OUTSIDE", str(outside)).replace("PORT", str(server.getsockname()[1]))
        found = seen(shown.replace("PARENT", str(os.getpid())), before)
    # a link would cross file systems; a process outside has no number in there
    others = {"os.link('OUTSIDE', 'x')": "OSError", "os.kill(PARENT, 9)": "ProcessLookupError"}
    assert found == others.get(expression, "PermissionError")
    assert outside.read_text() == "precious" and outside.stat().st_mode == state.st_mode
    assert outside.stat().st_mtime == state.st_mtime and list(tmp_path.iterdir()) == [outside]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of system calls")
@pytest.mark.parametrize(
    ("number", "errno"),
    [
        (425, 1),
        (272, 1),
        (308, 1),
        (310, 1),
        (321, 1),
        (57, 1),
        (58, 1),
        (56, 1),
        (435, 38),
        (165, 1),
        (59, 1),
        (434, 1),
        (29, 1),  # shared memory and queues: beside the limit of memory
        (68, 1),
        (240, 1),
        (319, 1),
    ],
)
def test_system_calls_that_landlock_does_not_see_are_refused(number, errno):
    code = "import ctypes\ndef call(n):\n    libc = ctypes.CDLL(None, use_errno=True)\n"
    code += "    return libc.syscall(n, 0, 0, 0, 0, 0, 0), ctypes.get_errno()"
    assert passed(code, f"assert call({number}) == (-1, {errno})") == (1, 1)


def test_signals_reach_no_process_outside():
    victim = os.fork()
    if not victim:
        time.sleep(60)
        os._exit(0)
    code = "import os\nfor p in (-1, 0, *range(2, 5000)):\n    try: os.kill(p, 9)\n    except OSError: pass\n"
    code += "def add(a, b): return a + b"
    try:
        assert passed(code)[0] in (0, 2)
        assert os.waitpid(victim, os.WNOHANG) == (0, 0)
    finally:
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)


def test_nothing_outlives_a_run_that_is_killed():
    code = "import ctypes, os\nctypes.CDLL(None).prctl(1, 0)\n"
    code += "try: os.setsid()\nexcept OSError: pass\nwhile True: pass"
    program = "from windtunnel.trainer.rewards.unit_tests import *\n"
    program += f"run({code!r}, 'assert 1', Limits(cpu_seconds=100), 100)"
    process = psutil.Popen([sys.executable, "-c", program])
    deadline, inside = time.monotonic() + 60, []
    while len(inside) < 4 and time.monotonic() < deadline:
        inside = process.children(recursive=True)
        time.sleep(0.2)
    time.sleep(1)  # until the code runs
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(inside, timeout=20)
    assert len(inside) == 4 and [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


def test_it_may_write_its_own_directory_and_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "open('x', 'w').write('1')\ndef add(a, b): return a + b + int(open('x').read()) - 1"
    assert passed(code) == (2, 2)
    filled = "def fill():\n    try:\n        for k in range(99): open(str(k), 'wb').write(b'x' * (1 << 20))\n"
    filled += "    except OSError as e: return e.errno\n"
    assert passed(filled, "assert fill() == 28") == (1, 1)  # no space left
    assert list(tmp_path.iterdir()) == []


def test_two_runs_see_the_same_order_and_random_numbers():
    code = "import random\ndef f(): return [list({'a', 'b', 'c', 'd', 'e'}), random.random()]"
    values = {
        tuple(run(code, f"assert f()[0][0] == {c!r}\nassert f()[1] > 0.5", LIMITS, 30) for c in "abcde")
        for _ in range(3)
    }
    assert len(values) == 1


def replies(*texts: str, answer: str | None = ADD) -> list[Reply]:
    return [Reply(f"r{k}", [{"role": "user", "content": "Add."}], text, answer) for k, text in enumerate(texts)]


def test_the_last_block_counts_and_bad_tests_are_counted(tmp_path):
    fenced = "Not\n```python\nx = (\n```\nbut\n```py\ndef add(a, b):\n    return a + b\n```\nDone."
    score = make(Reward, "unit_tests").scorer(Places({}, tmp_path))  # type: ignore[type-abstract]
    assert score(replies(fenced, "def add(a, b): return 3")).values == [1.0, 0.5]
    strict = make(Reward, {"unit_tests": {"count": "all"}}).scorer(Places({}, tmp_path))  # type: ignore[type-abstract]
    assert strict(replies(fenced, "def add(a, b): return 3")).values == [1.0, 0.0]
    mixed = [*replies(fenced, fenced, fenced, fenced, fenced), *replies(fenced, answer="x = 1")]
    assert score(mixed) == ([1.0] * 5 + [0.0], 1)
    with pytest.raises(
        InputError, match="cannot run the tests of 1 of 1 replies, first of row r0: the tests are no Py"
    ):
        score(replies(fenced, answer="assert ("))


def test_a_machine_without_a_sandbox_is_refused(monkeypatch, tmp_path):
    broken = tmp_path / "inside.py"
    broken.write_text(Path(_sandbox.INSIDE).read_text().replace("LEAST_LANDLOCK = 3", "LEAST_LANDLOCK = 999"))
    monkeypatch.setattr(_sandbox, "INSIDE", broken)
    with pytest.raises(InputError, match=r"Landlock has version \d+ here, and 999 is needed.*`isolation: none`"):
        make(Reward, "unit_tests").scorer(Places({}, tmp_path))  # type: ignore[type-abstract]
    with pytest.raises(InputError, match="did not start: Landlock has version"):
        passed("def add(a, b): return a + b")
    holed = broken.read_text().replace("LEAST_LANDLOCK = 999", "LEAST_LANDLOCK = 3")
    holed = holed.replace("_seccomp()\n    except", "pass\n    except")
    broken.write_text(holed)
    with pytest.raises(InputError, match=r"does not hold on this machine: it allows .*new processes"):
        check_isolation(Limits())
    with pytest.raises(RecipeError):
        make(Reward, {"unit_tests": {"isolation": "some"}})  # type: ignore[type-abstract]
