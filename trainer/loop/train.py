"""train(): one stage of one run, from a configuration and finished artifacts to a model, its scores and its cost.

    result = train(Stage(mix="raw", seed=0, model=Llama(), schedule=..., objective=CausalLM()), inputs, out)

Same configuration, inputs and thread count: the same bits, interrupted or not. The order of data is a function of the
step (trainer/data.py), randomness is seeded by the step, and a checkpoint holds the rest.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from windtunnel.schemas.artifact import Artifact, write_text
from windtunnel.schemas.results import RunResult
from windtunnel.trainer.loop import checkpoint
from windtunnel.trainer.loop.loop import CACHE, Loop, Report, TrainingError
from windtunnel.trainer.loop.stage import Stage
from windtunnel.trainer.runtime.numerics import numerics

__all__ = ["Stage", "TrainingError", "train"]


def train(
    stage: Stage,
    inputs: Mapping[str, Artifact],
    out: Path,
    *,
    start: Path | None = None,
    report: Report | None = None,
    checkpoint_seconds: float = 60.0,
    checkpoint_steps: int | None = None,
) -> RunResult:
    """Train one stage and write its model, log, scores and result into `out`; a finished stage is returned as it is.

    `start` is a model directory to go on from; without one the weights are drawn from the seed. A checkpoint is
    written every `checkpoint_seconds`, or every `checkpoint_steps` steps where given; neither changes any bit of the
    outcome. Raises TrainingError when the loss or the gradient is not finite.
    """
    digest = stage.digest(inputs)
    done = out / "result.json"
    if done.exists():
        result = RunResult.model_validate_json(done.read_bytes())
        if result.config == digest:
            _tidy(out)  # it may have been killed between its last two lines
            return result
    with numerics(stage.threads, stage.seed, stage.device):
        loop = Loop(stage, inputs, out, digest, start)
        loop.resume()
        loop.go(report, checkpoint_seconds, checkpoint_steps)
        result = loop.finish()
    write_text(done, result.model_dump_json(indent=1))
    _tidy(out)
    return result


def _tidy(out: Path) -> None:
    """Remove what only a run that goes on needs: its checkpoint, rows as tokens, reference log-probabilities."""
    checkpoint.remove(out)
    shutil.rmtree(out / CACHE, ignore_errors=True)
