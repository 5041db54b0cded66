"""train(): trains one stage of one run, from a configuration and finished artifacts to a model and its scores.

    result = train(Stage(mix="raw", seed=0, model=Llama(), schedule=..., objective=CausalLM()), inputs, out)

Equal configuration, inputs and thread count give equal bits, whether interrupted or not: the order of the data is a
function of the step, randomness is seeded by the step, and a checkpoint contains everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType

from windtunnel.schemas.artifact import Artifact, remove, write_text
from windtunnel.schemas.errors import TrainingError
from windtunnel.schemas.results import RunResult
from windtunnel.trainer.loop import checkpoint
from windtunnel.trainer.loop.fit import fit
from windtunnel.trainer.loop.loop import CACHE, Loop, Report
from windtunnel.trainer.loop.ranks import ALONE, Ranks
from windtunnel.trainer.loop.stage import Stage
from windtunnel.trainer.loop.watching import Watching
from windtunnel.trainer.objectives._fitted_objective import FittedObjective
from windtunnel.trainer.runtime.numerics import numerics
from windtunnel.trainer.runtime.precision import check

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
    ranks: Ranks = ALONE,
    watching: Watching | None = None,
    models: Mapping[str, Path] = MappingProxyType({}),
) -> RunResult:
    """Train one stage and write its model, log, scores and result into `out`, unless it is already finished.

    `start` is a model directory to start from; without it the weights are drawn from the seed. A checkpoint is written
    every `checkpoint_seconds`, or every `checkpoint_steps` steps if given; results do not depend on either. `ranks` are
    the processes of the run, each of which calls this; a checkpoint can be resumed by another number of them.
    `watching` looks on and changes nothing; `models` are directories that earlier stages have trained, by name. Raises
    TrainingError if the loss or the gradient is not finite.
    """
    digest = stage.digest(inputs)
    done = out / "result.json"
    if done.exists():
        result = RunResult.model_validate_json(done.read_bytes())
        if result.config == digest:
            _tidy(out)  # an earlier run may have been killed before its clean-up
            return result
    if isinstance(stage.objective, FittedObjective):
        if ranks.rank == 0:  # there is nothing to share
            write_text(done, fit(stage, stage.objective, inputs, out, digest).model_dump_json(indent=1))
        ranks.wait()
        return RunResult.model_validate_json(done.read_bytes())
    compute = stage.compute
    with numerics(compute.threads, stage.seed, compute.device, compute.deterministic):
        check(compute.precision, compute.device)
        loop = Loop(stage, inputs, out, digest, start, ranks, models)
        loop.resume()
        with watching.on(loop) if watching is not None else nullcontext():
            loop.go(report, checkpoint_seconds, checkpoint_steps)
        if result := loop.finish():
            write_text(done, result.model_dump_json(indent=1))
            _tidy(out)
    ranks.wait()
    return result or RunResult.model_validate_json(done.read_bytes())


def _tidy(out: Path) -> None:
    """Remove what only an unfinished stage needs: checkpoint, encoded rows, reference log-probabilities."""
    checkpoint.remove(out)
    remove(out / CACHE)
