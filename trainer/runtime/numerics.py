"""Global settings of torch that affect results and speed, set for the duration of a run and restored afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import torch
from blake3 import blake3

from windtunnel.trainer.runtime.device import check


@contextlib.contextmanager
def numerics(threads: int, seed: int, device: str = "cpu", deterministic: bool = True) -> Iterator[None]:
    """Set threads, flush-to-zero, deterministic algorithms and the seed of torch's generator within the block.

    Results depend bit by bit on the number of threads; on a GPU that is not `deterministic`, they differ between runs.
    Raises InputError if `device` is not available.
    """
    check(device)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # arithmetic on denormals is about a hundred times slower
    torch.use_deterministic_algorithms(deterministic or device == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    keep_freed_memory()
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.set_rng_state(before[2])


def seed_step(seed: int, step: int) -> None:
    """Seed torch's generator for a step, so that dropout needs no state for resuming."""
    torch.manual_seed(int.from_bytes(blake3(f"{seed}/step/{step}".encode()).digest()[:7], "big"))


def keep_freed_memory() -> None:
    """Configure glibc to keep freed memory instead of returning it to the kernel.

    A step allocates about a hundred arrays of 1 to 4 MB; page faults on fresh memory take 5 % of its time.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
        mallopt(-1, 512 << 20)  # M_TRIM_THRESHOLD
