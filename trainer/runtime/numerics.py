"""The global switches of torch that decide bits and speed, set for the time of a run and put back after it."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import torch
from blake3 import blake3

from windtunnel.trainer.runtime.device import check


@contextlib.contextmanager
def numerics(threads: int, seed: int, device: str = "cpu") -> Iterator[None]:
    """Run with `threads` threads, denormals as zero, deterministic kernels and torch's generator seeded.

    Sums are split by thread: another number of threads gives other bits. Raises InputError when `device` is not there.
    """
    check(device)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # dying activations would otherwise cost a hundred times an ordinary number
    torch.use_deterministic_algorithms(True)
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
    """Seed torch's generator for a step, so that what draws in it (dropout) needs no state to resume."""
    torch.manual_seed(int.from_bytes(blake3(f"{seed}/step/{step}".encode()).digest()[:7], "big"))


def keep_freed_memory() -> None:
    """Tell glibc to keep freed arrays for the next step instead of handing their pages back to the kernel.

    A step frees and takes some hundred arrays of 1 to 4 MB; faulting their pages in anew costs 5 % of its time.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
        mallopt(-1, 512 << 20)  # M_TRIM_THRESHOLD
