"""Tasks on a Ray cluster, or on a Ray node of this run's own."""

from __future__ import annotations

import logging
import os
from collections import deque
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from windtunnel.pipelines.engine.tasks.process_guard import last_lines
from windtunnel.pipelines.engine.tasks.remote_worker import RemoteTask, run_in_child, write_lost
from windtunnel.pipelines.engine.tasks.task import Task
from windtunnel.schemas.errors import WindtunnelError

OBJECT_STORE_BYTES = 80 << 20  # about the least that Ray takes: tasks hand over files, not objects
GIB = 1 << 30
TRIES = 4  # for a task whose node or worker process is lost
_connections: list[str] = []  # made by `run`, ended by `leave`


class Options(BaseModel):
    """`address`: a running cluster (`auto`, or host:port); RAY_ADDRESS by default, without either a node is started.

    The others say what one task takes: cores, memory in GB and GPUs.
    """

    model_config = ConfigDict(extra="forbid")
    address: str | None = None
    cpus_per_task: int = Field(default=1, ge=1)
    mem_per_cpu_gb: float = Field(default=1, ge=0)
    gpus_per_task: int = Field(default=0, ge=0)

    @property
    def memory_bytes(self) -> int:
        """Memory of one task."""
        return int(self.mem_per_cpu_gb * self.cpus_per_task * GIB)


def run(tasks: list[Task], workers: int, options: Options, logs: Path) -> None:
    """Run all tasks, at most `workers` at once; a Ray that was running before is left running."""
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError:
        raise WindtunnelError("--executor ray needs Ray: pip install 'windtunnel[ray]'") from None
    _connect(options, workers)
    _check_fits(options)
    function: Any = ray.remote(
        num_cpus=options.cpus_per_task,
        num_gpus=options.gpus_per_task,
        memory=options.memory_bytes,
        max_retries=0,  # the tries are counted here: after some errors Ray would try for ever
    )(run_in_child)
    waiting = deque((task, 1) for task in tasks)
    running: dict[Any, tuple[Task, int]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                task, tries = waiting.popleft()
                running[function.remote(RemoteTask.of(task), logs.absolute() / task.log_name)] = task, tries
            [ended], _ = ray.wait(list(running))
            task, tries = running.pop(ended)
            try:
                ray.get(ended)
            except RayTaskError as error:
                write_lost(task, str(error.cause))
            except RayError as error:
                if tries < TRIES:
                    waiting.append((task, tries + 1))
                    continue
                log, name = logs / task.log_name, type(error).__name__
                why = f"Ray lost the task's node or worker process {TRIES} times ({name})"
                write_lost(task, f"{why}; its log: {log}{last_lines(log)}")
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def leave() -> None:
    """Leave the cluster, or end the node, that `run` connected to; a connection of the caller's stays."""
    if _connections:
        import ray

        _connections.clear()
        ray.shutdown()


def _connect(options: Options, workers: int) -> None:
    """Connect once for all stages of a run: to start a node takes seconds."""
    import ray

    if ray.is_initialized():
        return
    address = options.address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
    own_node: dict[str, Any] = {
        "num_cpus": workers * options.cpus_per_task,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        # what tasks may book together; what they really use is the system's affair, as with local workers
        "_memory": max(1, workers * options.memory_bytes),
    }
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else own_node))
    except ConnectionError as error:
        raise WindtunnelError(f"no Ray cluster answers at {address}: {error}") from None
    _connections.append(address or "local")


def _check_fits(options: Options) -> None:
    """Raise when no node is large enough for one task: Ray would wait for such a node for ever."""
    import ray

    needs = {"CPU": options.cpus_per_task, "memory": options.memory_bytes, "GPU": options.gpus_per_task}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= amount for name, amount in needs.items()) for node in nodes):
        have = "; ".join(
            f"{node.get('CPU', 0):.0f} cores, {node.get('memory', 0) / GIB:.1f} GB, {node.get('GPU', 0):.0f} GPUs"
            for node in nodes
        )
        raise WindtunnelError(
            f"no Ray node can take a task of {options.cpus_per_task} cores, {options.memory_bytes / GIB:.1f} GB and "
            f"{options.gpus_per_task} GPUs: the nodes have {have}; lower cpus_per_task, mem_per_cpu_gb or gpus_per_task"
        )
