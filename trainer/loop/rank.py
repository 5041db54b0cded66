"""One of the processes of a training run, as torchrun starts it; see `windtunnel.trainer.loop.launch`."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any


def main(job_file: str) -> int:
    """Be one of the processes: train, and on the first rank say what came of it."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    if job["parent"] is not None:
        threading.Thread(target=_end_with, args=(job["parent"], os.getppid()), daemon=True).start()
    return _train(job)  # its imports take seconds, in which the run may end


def _train(job: dict[str, Any]) -> int:
    from windtunnel.schemas import plugin_files
    from windtunnel.schemas.artifact import Artifact, write_text
    from windtunnel.schemas.errors import TrainingError, WindtunnelError
    from windtunnel.schemas.journal import journal
    from windtunnel.trainer.loop.launch import SAID
    from windtunnel.trainer.loop.ranks import joined
    from windtunnel.trainer.loop.run import TrainRun

    out, found = Path(job["out"]), {}
    work = TrainRun.model_validate(job["work"])
    try:
        ranks = joined(work.device, job["shard"])
        inputs = {role: Artifact(Path(path)) for role, path in job["inputs"].items()}
        with ExitStack() as stack:
            for name in job["journals"]:
                stack.enter_context(journal(out, name))
            stack.enter_context(plugin_files.relative_to(Path(job["parts"])))
            counts = work.train(inputs, out, ranks)
        found = {"counts": counts.model_dump(mode="json")} if ranks.rank == 0 else {}
    except WindtunnelError as error:
        found = {"error": str(error), "diverged": isinstance(error, TrainingError)}
    if found:
        write_text(out / SAID, json.dumps(found))
    return int("error" in found)


def _end_with(run: int, agent: int) -> None:
    """End this process at once when the run's process or torchrun's is gone: the run may be begun again.

    torchrun gives each of its processes a session of its own, which no signal to its own group reaches.
    """
    while os.getppid() == agent:
        try:
            os.kill(run, 0)
        except ProcessLookupError:
            break
        time.sleep(0.2)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
