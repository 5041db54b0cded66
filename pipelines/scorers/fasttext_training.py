"""Trains a fastText classifier reproducibly, in a child process whose allocated memory is zeroed.

On one thread, fastText initialises only the first tenth of its input matrix and leaves the rest uninitialised
(DenseMatrix::uniformThread), so that training would depend on previous memory contents. glibc fills allocated memory
with the complement of MALLOC_PERTURB_, which must be set before the process starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from windtunnel.schemas.errors import WindtunnelError

_ZERO = "255"  # the complement of this byte is 0


def train_supervised(text: Path, model: Path, **options: Any) -> None:
    """Train on `text` (one document per line, label first) and save `model`; `options` are those of fastText.

    Runs on one thread, so that equal text and options give equal bytes. Raises WindtunnelError if fastText fails.
    """
    arguments = json.dumps({"input": str(text), "thread": 1, "verbose": 0, **options})
    command = [sys.executable, "-m", "windtunnel.pipelines.scorers.fasttext_training", arguments, str(model)]
    done = subprocess.run(command, env={**os.environ, "MALLOC_PERTURB_": _ZERO}, capture_output=True, text=True)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise WindtunnelError(f"fastText could not train the classifier: {reason[0]}")


def _main(arguments: str, model: str) -> None:
    import fasttext

    fasttext.train_supervised(**json.loads(arguments)).save_model(model)


if __name__ == "__main__":
    _main(*sys.argv[1:])
