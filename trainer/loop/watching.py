"""What looks on while a run trains: validation, samples, kept checkpoints, loggers, and the file of its progress.

None of it changes weights, random state or results: a run with it gives the bits of one without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.watch import Keep, Watch, points
from windtunnel.trainer.loggers._logger import Logged, Logger
from windtunnel.trainer.loop.following import Following
from windtunnel.trainer.loop.kept import Kept
from windtunnel.trainer.loop.samples import Samples
from windtunnel.trainer.loop.services import Service
from windtunnel.trainer.loop.validation import Validation

if TYPE_CHECKING:
    from windtunnel.trainer.loop.loop import Loop


@dataclass
class Watching:
    """What looks on at the stages of a run, one after another; `notes` are for the run's manifest."""

    out: Path  # of the run
    stages: int = 1
    watch: Watch | None = None
    keep: Keep | None = None
    logger: Logger | None = None
    gradient_noise: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)  # of the run, for loggers
    stage: int = -1  # at work, from 0
    looked: float = 0.0  # seconds that looking took
    trained: float = 0.0  # seconds of training beside it
    notes: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def on(self, loop: Loop) -> Iterator[None]:
        """Look on at a stage that begins or goes on, within the block."""
        if loop.ranks.sharded and (self.watch or self.keep or self.gradient_noise):
            raise InputError("`watch`, `keep` and `gradient_noise` need all weights in one process: use `shard: ddp`")
        loop.noise = self.gradient_noise
        watch = self.watch or Watch.model_validate({})
        steps = loop.data.steps
        kept = points(steps, self.keep.every if self.keep else None)
        validated = points(steps, watch.every) | kept
        sampled = points(steps, watch.samples)
        loop.looks = validated | sampled  # of all ranks, since they wait for one another
        service: Service | None = None
        if loop.ranks.rank == 0:
            validation = Validation(validated, watch.documents)
            looking = [validation, Samples(sampled, watch), Kept(kept, steps)]
            if self.logger is not None:
                run = Logged(
                    self.out.name.removesuffix(".partial"), self.out.parent, self.stage, loop.step, self.config
                )
                service = Service(self.logger, run, validation)
            rest = [service] if service is not None else []
            loop.watchers = [*looking, *rest, Following(self.out, self.stage + 1, self.stages, validation)]
            for watcher in loop.watchers:
                watcher.begin(loop)
        began = loop.seconds
        try:
            yield
        finally:
            if service is not None and (problem := service.close()):
                self.notes["warning"] = problem
            self._count(loop, loop.seconds - began)

    def _count(self, loop: Loop, trained: float) -> None:
        self.looked += loop.looked
        self.trained += trained
        if self.watch or self.keep:
            share = self.looked / max(self.looked + self.trained, 1e-9)
            self.notes["looking"] = f"{self.looked:.1f} s, {share:.1%} of the time of training with it"
