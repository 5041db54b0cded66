"""Trains fastText word vectors reproducibly, in a child process whose allocated memory is zeroed.

On one thread, fastText initialises only the first tenth of its input matrix and leaves the rest uninitialised
(DenseMatrix::uniformThread). glibc fills allocated memory with the complement of MALLOC_PERTURB_, which must be set
before the process starts. The vectors of words, which would begin as zero then, are given in a file of initial vectors;
those of character n-grams begin as zero.
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
_NO_LABEL = " "  # no word begins with it, so that none is a label


def train_skipgram(text: Path, initial: Path, out: Path, seed: int, **options: Any) -> None:
    """Train on `text`, from the word vectors of `initial` (text format of word2vec), and write into the folder `out`.

    Writes input.npy, float32 [words + buckets, width], output.npy, words.json and fasttext.bin. `options` are fields of
    fastText's arguments. Runs on one thread, so that equal files, seed and options give equal bytes. Raises
    WindtunnelError if fastText fails.
    """
    given = {"input": str(text), "pretrainedVectors": str(initial), "seed": seed, **options}
    command = [sys.executable, "-m", "windtunnel.trainer.runtime.fasttext_vectors", json.dumps(given), str(out)]
    done = subprocess.run(command, env={**os.environ, "MALLOC_PERTURB_": _ZERO}, capture_output=True, text=True)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise WindtunnelError(f"fastText could not train vectors: {reason[0]}")


def _main(arguments: str, out: Path) -> None:
    import fasttext_pybind
    import numpy as np

    args = fasttext_pybind.args()
    args.model, args.loss = fasttext_pybind.model_name.skipgram, fasttext_pybind.loss_name.ns
    args.thread, args.verbose, args.label, args.output, args.wordNgrams = 1, 0, _NO_LABEL, "", 1
    for name, value in json.loads(arguments).items():
        setattr(args, name, value)
    if args.maxn == 0:
        args.bucket = 0
    model = fasttext_pybind.fasttext()
    fasttext_pybind.train(model, args)
    np.save(out / "input.npy", np.array(model.getInputMatrix(), np.float32))
    np.save(out / "output.npy", np.array(model.getOutputMatrix(), np.float32))
    (out / "words.json").write_text(json.dumps(model.getVocab("strict")[0]), encoding="utf-8")
    model.saveModel(str(out / "fasttext.bin"))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
