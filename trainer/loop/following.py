"""Tells other processes how far a run is: a small file, written at most once a second and when a model is scored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from windtunnel.schemas.progress import RunProgress, thinned
from windtunnel.trainer.loop.validation import Validation

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.trainer.loop.loop import Loop

WRITE_SECONDS = 1.0


class Following:
    """Writes the progress of one stage of a run into the run's directory."""

    def __init__(self, out: Path, stage: int, stages: int, validation: Validation | None) -> None:
        self.out, self.validation = out, validation
        self.state = RunProgress(stage=stage, stages=stages)
        self.written = self.started = time.monotonic()
        self.first = 0  # steps that were done when this process began

    def begin(self, loop: Loop) -> None:
        """Write that the stage begins."""
        self.first, self.started = loop.step, time.monotonic()
        self._write(loop)

    def settled(self, loop: Loop, rows: list[dict[str, float]]) -> None:
        """Write, unless that was done a moment ago."""
        if time.monotonic() - self.written >= WRITE_SECONDS or loop.step == loop.data.steps:
            self._write(loop)

    def _write(self, loop: Loop) -> None:
        losses, now = loop.log.columns.get("loss", []), time.monotonic()
        done = loop.step - self.first
        last = self.validation.last if self.validation is not None else None
        self.state = self.state.model_copy(
            update={
                "step": loop.step,
                "steps": loop.data.steps,
                "tokens": loop.tokens,
                "loss": losses[-1] if losses else None,
                "curve": thinned(losses),
                "tokens_per_second": loop.tokens / loop.seconds if loop.seconds else None,
                "seconds_left": (loop.data.steps - loop.step) * (now - self.started) / done if done else None,
                "validated_at": last[0] if last else None,
                "bits_per_byte": last[1] if last else None,
            }
        )
        self.state.write(self.out)
        self.written = now
