"""A limit of the address space (`ulimit -v`), under which libraries fail in ways of their own, or wait for ever.

polars, Arrow and torch reserve far more than they use. When one of their threads cannot be made or ends by a panic,
others may wait for it without end, which nothing outside can tell from work. So what is too low is refused.
"""

from __future__ import annotations

import os
import resource

from windtunnel.schemas.errors import WindtunnelError

START_BYTES = 1 << 30  # measured: below it the first call into polars fails, or aborts the process
RUN_BYTES = 3 << 30  # measured: a process that trains the smallest model on two cores reserves 2.9 GiB
CORE_BYTES = 8 << 20  # the stacks of the threads that one more core brings: measured 2.6 MiB a thread, three of them


def check_memory_limit(needed: int) -> None:
    """Raise WindtunnelError when this process may reserve less than `needed` bytes of address space."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed += CORE_BYTES * max(0, (os.cpu_count() or 1) - 2)
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise WindtunnelError(
            f"the memory limit ulimit -v is {limit / 2**30:.1f} GB, and at least {needed / 2**30:.1f} GB of address "
            "space are needed, most of which is never used: raise it (ulimit -v unlimited); a cgroup bounds what is "
            "used (systemd-run --user --scope -p MemoryMax=8G windtunnel ...)"
        )
