"""Trains a fastText classifier in a process of its own, whose memory is zero when it is handed out.

fastText sets the first tenth of its input matrix when it runs on one thread and leaves the rest as the allocator gave
it (DenseMatrix::uniformThread): what was in memory before would be trained on, and may even be no number. glibc fills
what it hands out with the complement of MALLOC_PERTURB_, which must be set before a process starts.
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
    """Train on `text` (a line a document, labels first) and save `model`; options are fastText's own.

    One thread: the same text and options give the same bytes. Raises WindtunnelError when fastText fails.
    """
    words = json.dumps({"input": str(text), "thread": 1, "verbose": 0, **options})
    command = [sys.executable, "-m", "windtunnel.pipelines.scorers.fasttext_training", words, str(model)]
    done = subprocess.run(command, env={**os.environ, "MALLOC_PERTURB_": _ZERO}, capture_output=True, text=True)
    if done.returncode != 0:
        told = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise WindtunnelError(f"fastText could not train the classifier: {told[0]}")


def _main(words: str, model: str) -> None:
    import fasttext

    fasttext.train_supervised(**json.loads(words)).save_model(model)


if __name__ == "__main__":
    _main(*sys.argv[1:])
