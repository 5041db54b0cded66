"""How far training runs are, in words; read from the files that they write, by `run` and by `watch`."""

from __future__ import annotations

from windtunnel.pipelines.report import units
from windtunnel.schemas.progress import RunProgress

BLOCKS = "▁▂▃▄▅▆▇█"


def told(state: RunProgress) -> str:
    """Return a run's progress on one line: step, loss, speed, time left, last validation."""
    stage = f"stage {state.stage} of {state.stages}, " if state.stages > 1 else ""
    if not state.steps:
        return f"{stage}starting"
    parts = [f"{stage}step {state.step:,} of {state.steps:,}"]
    parts += [f"loss {state.loss:.3f}"] if state.loss is not None else []
    parts += [f"{state.tokens_per_second:,.0f} tokens/s"] if state.tokens_per_second else []
    parts += [f"{units.seconds(state.seconds_left)} left"] if state.seconds_left is not None else []
    if state.bits_per_byte is not None:
        parts.append(f"held-out {state.bits_per_byte:.3f} bits per byte at step {state.validated_at:,}")
    return ", ".join(parts)


def sparkline(values: list[float], width: int = 24) -> str:
    """Return a row of blocks as high as the values, the last `width` of them; what is not finite is a blank."""
    shown = values[-width:]
    finite = [v for v in shown if abs(v) < float("inf")]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((v - low) * scale)] if abs(v) < float("inf") else " " for v in shown)
