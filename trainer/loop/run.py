"""The train step of a plan: trains one mix with one seed through all stages, each starting from the previous one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Set
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.schemas.artifact import MANIFEST, Artifact, writing
from windtunnel.schemas.launch import Launch
from windtunnel.schemas.plugin import Plugin, label, make, reference
from windtunnel.schemas.progress import end_progress
from windtunnel.schemas.role import Role
from windtunnel.schemas.watch import Keep, Watch
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.loggers._logger import Logger
from windtunnel.trainer.loop.compute import Compute
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.objectives._objective import Objective
from windtunnel.trainer.schedules._schedule import Schedule

if TYPE_CHECKING:
    from windtunnel.schemas.results import RunResult
    from windtunnel.trainer.loop.ranks import Ranks
    from windtunnel.trainer.loop.watching import Watching

FEWEST_DOCUMENTS = 16  # in a batch
EARLIER = "earlier"  # role of the run whose model the first stage starts from
MODEL = "model"  # kind of the role of a model that a stage reads beside its own, `model:NAME`
RECORDS = (".json", ".jsonl", ".parquet")  # endings of what a stage writes about itself
MANY_LEFT_OUT = 0.05  # share of the steps


class TrainRun(Work):
    """Train one model. The stages' objectives determine its inputs: `mix`, `tokens:<corpus>`, `held_out`, ...

    The model and tokenizer to start from are in the input `start`; without it, the tokenizer is in `tokenizer`. Writes
    model/, log.parquet, scores.parquet, realised.parquet and result.json, and experts.parquet for a mixture of experts
    (the note `dead_experts` names those without tokens); earlier stages write theirs to stage<n>/. `watch` adds
    validation.parquet and samples.parquet, `keep` the models in checkpoints/.

    Stages that several runs share are a run of their own, the input `earlier`: model and results are those of a run of
    all stages, and the records of earlier stages are in stage<n>/ as there, without their models.
    """

    version: ClassVar[int] = 4  # 4: generation settings and framing tokenizers in model/
    run_last: ClassVar[bool] = True  # the runs of all mixes and seeds execute in parallel
    mix: str
    seed: int
    model: Any = None
    schedule: Any = Field(default_factory=lambda: {"wsd": {"warmup": 0.05, "decay": 0.2}})
    stages: tuple[Any, ...] = Field(min_length=1)
    threads: int = Field(1, ge=1)  # part of the configuration: results depend on it bit by bit
    device: Literal["cpu", "cuda"] = "cpu"  # part of the configuration, like `threads` and what follows
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool | Literal["auto"] = "auto"
    deterministic: bool = True
    activation_checkpointing: bool = False
    template: str | None = None  # for chat data: a name of ours, or the text of a template
    launch: Launch | None = None  # no part of the key: results are those of one process up to rounding
    log: Any = None  # spec of a logger; no part of the key either
    watch: Watch | None = None
    keep: Keep | None = None
    gradient_noise: bool = False
    earlier: int = Field(default=0, ge=0)  # stages that the input of this name has trained

    def identity(self) -> dict[str, Any]:
        """Return the content of the key; what is not chosen of template, watch, keep and so on is no part of it."""
        optional = {"template", "watch", "keep", "gradient_noise", "earlier"}
        left_out = {"launch", "log"} | {name for name in optional if not getattr(self, name)}
        stages = [_keyed(spec) for spec in self.stages]
        return {k: v for k, v in super().identity().items() if k not in left_out} | {"stages": stages}

    def watching(self, out: Path) -> Watching:
        """Return what looks on at the run."""
        from windtunnel.trainer.loop.watching import Watching

        logger = make(Logger, self.log) if self.log is not None else None
        if logger is not None:
            logger.check_installed()
        config = {"mix": self.mix, "seed": self.seed, "model": self.model, "stages": list(self.stages)}
        return Watching(out, self._last_stage + 1, self.watch, self.keep, logger, self.gradient_noise, config)

    @property
    def cores(self) -> int:
        """Threads of all processes; those of a GPU mostly wait for it."""
        processes = self.launch.gpus if self.launch is not None else 1
        return 1 if self.device == "cuda" else self.threads * processes

    def compute(self) -> Compute:
        """Return how the stages are computed."""
        return Compute(**{field.name: getattr(self, field.name) for field in fields(Compute)})

    def plugins(self) -> list[Plugin]:
        """Return the model, the schedule and the objectives."""
        model = [make(Model, self.model)] if self.model is not None else []
        return [*model, make(Schedule, self.schedule), *(make(Objective, stage) for stage in self.stages)]

    def redone(self, damaged: Set[str], files: Set[str]) -> Set[str]:
        """Return all files of the first stage that has a damaged one, and of those behind it."""
        first = min(self._stage_of(file) for file in damaged)
        return {file for file in files if self._stage_of(file) >= first}

    def _stage_of(self, file: str) -> int:
        folder, _, rest = file.partition("/")
        return int(folder.removeprefix("stage")) if rest and re.fullmatch(r"stage\d+", folder) else self._last_stage

    @property
    def _last_stage(self) -> int:
        return self.earlier + len(self.stages) - 1

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        for role, artifact in inputs.items():
            about = artifact.manifest.config if Role.parse(role).kind in (EARLIER, MODEL) else {}
            if "stages" in about:  # a run of earlier stages
                _copy_records(artifact.path, out, about.get("earlier", 0))
        if self.launch is None or self.launch.nodes * self.launch.gpus == 1:
            return self.train(inputs, out)
        from windtunnel.trainer.loop.launch import run_launched

        counts = Counts.model_validate(run_launched(self, self.launch, inputs, out))
        counts.notes["processes"] = f"{self.launch.nodes} x {self.launch.gpus}, {self.launch.shard}"
        return counts

    def train(self, inputs: Mapping[str, Artifact], out: Path, ranks: Ranks | None = None) -> Counts:
        """Train all stages, in this process or as one of several; return the counts."""
        import polars as pl

        from windtunnel.schemas.encoded_rows import encoded_of, refused_words
        from windtunnel.trainer.loop.ranks import ALONE
        from windtunnel.trainer.loop.train import Stage, train
        from windtunnel.trainer.modules.routing import EXPERTS, dead_experts

        counts, watching, results = Counts(), self.watching(out), []
        first = EARLIER if EARLIER in inputs else "start"
        start: Path | None = inputs[first].path / "model" if first in inputs else None
        models: dict[str, Path] = {}  # of stages that stand aside, by their objective's name
        for number, spec in enumerate(self.stages, start=self.earlier):
            last = number == self._last_stage
            stage = Stage.from_specs(
                self.mix, self.seed, self.model, self.schedule, spec, compute=self.compute(), template=self.template
            )  # fmt: skip
            where = out if last else out / f"stage{number}"
            watching.stage = number
            result = train(stage, inputs, where, start=start, ranks=ranks or ALONE, watching=watching, models=models)
            results.append(result)
            counts.tokens += result.tokens
            counts.bytes += result.bytes_trained
            counts.flops += result.flops
            counts.notes["tokens_per_second"] = round(result.tokens_per_second)
            if stage.objective.delta is not None and result.trained_parameters is not None:
                counts.notes["trains"] = f"{result.trained_parameters:,} of {result.parameters:,} weights"
            documents = result.documents_per_batch or 0.0
            counts.notes["documents_per_batch"] = f"{documents:g}"  # of the last stage
            if documents < FEWEST_DOCUMENTS:
                counts.notes["warning"] = _few(documents, stage.objective)
            if stage.objective.aside:
                models[label(stage.objective)] = where / "model"
            else:
                start = where / "model"
            if (file := where / EXPERTS).is_file() and (dead := dead_experts(pl.read_parquet(file).to_dicts())):
                counts.notes["dead_experts"] = dead
        counts.notes |= watching.notes | _left_out(results) | (_noise(results) if self.gradient_noise else {})
        if ranks is None or ranks.rank == 0:
            end_progress(out)
        if refused := refused_words(encoded_of(out)):
            counts.notes["refused"] = refused
        if self.device == "cuda":
            import torch

            counts.notes["gpu"] = torch.cuda.get_device_name()  # recorded in the manifest; the key contains `cuda` only
        return counts


def _keyed(spec: Any) -> Any:
    """Return the spec of a stage without what has no influence on its results."""
    objective = make(Objective, spec)  # type: ignore[type-abstract]
    keyed = objective.keyed()
    return spec if keyed == objective.model_dump(mode="json") else {reference(objective): keyed}


def _copy_records(run: Path, out: Path, last: int) -> None:
    """Copy what the stages of an earlier run wrote about themselves; its last stage is number `last`."""
    for folder in (run, *run.glob("stage*")):
        for file in folder.iterdir():
            if file.suffix in RECORDS and file.name != MANIFEST and not file.name.startswith("."):
                with writing(out / (f"stage{last}" if folder == run else folder.name) / file.name) as partial:
                    shutil.copyfile(file, partial)


def _left_out(results: list[RunResult]) -> dict[str, str]:
    """Return how many steps `skip_spikes` left out, and a warning where they are many."""
    left_out, steps = sum(result.skipped_steps for result in results), sum(result.steps for result in results)
    if not left_out:
        return {}
    words = f"{left_out:,} of {steps:,}"
    if left_out <= MANY_LEFT_OUT * steps:
        return {"steps_left_out": words}
    warning = (
        f"`skip_spikes` left out {words} steps: their tokens count as trained on and taught nothing; lower `lr`, and "
        "look at the documents in spikes.jsonl"
    )
    return {"steps_left_out": words, "many_left_out": warning}


def _noise(results: list[RunResult]) -> dict[str, float | str]:
    """Return the critical batch of the last stage that has one, or why none is known."""
    found = [noise for result in results if (noise := result.gradient_noise) is not None]
    measured = [noise.critical_batch_tokens for noise in found if noise.critical_batch_tokens is not None]
    if measured:
        return {"critical_batch_tokens": round(measured[-1])}
    if found:
        return {"gradient_noise": "not known: over so few steps the gradient does not stand out from its noise"}
    return {"gradient_noise": "not measured: no step had two micro-batches; give `micro_tokens` below `batch_tokens`"}


def _few(documents: float, objective: Objective) -> str:
    of_text = objective.kind == "tokens"
    what, mend = ("documents", ", or lower `piece` of `causal_lm`") if of_text else ("rows", "")
    return (
        f"a step reads {documents:.1f} {what} on average, fewer than {FEWEST_DOCUMENTS}: which ones they are widens "
        f"the spread between seeds; raise `{objective.batch_by}`{mend}"
    )
