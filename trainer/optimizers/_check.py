"""Checks an optimizer on a small problem: it moves every parameter once, descends, and goes on from its state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windtunnel.schemas.finding import Finding, finding
from windtunnel.trainer.optimizers._optimizer import Optimizer, Trained

STEPS = 12


def check(cls: type[Optimizer]) -> Iterator[Finding]:
    """Yield the outcome of every property, for each set of parameters."""
    for params in cls.examples:
        what = f" with {dict(params)}" if params else ""
        yield finding(f"moves every parameter once{what}", lambda p=params: _covers(cls(**p)))
        yield finding(f"goes downhill{what}", lambda p=params: _descends(cls(**p)))
        yield finding(f"its state is tensors{what}", lambda p=params: _state(cls(**p)))


def _problem() -> tuple[dict[str, Any], Trained]:
    import torch

    generator = torch.Generator().manual_seed(0)
    shapes = {"embedding": (20, 8), "block.matrix": (8, 8), "block.wide": (16, 8), "block.norm": (8,)}
    parameters = {n: torch.nn.Parameter(torch.randn(shape, generator=generator)) for n, shape in shapes.items()}
    hidden = frozenset({"block.matrix", "block.wide"})
    return parameters, Trained(parameters, hidden, lr=0.02, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)


def _covers(optimizer: Optimizer) -> str | None:
    parameters, trained = _problem()
    updated = [id(p) for part in optimizer.build(trained) for group in part.param_groups for p in group["params"]]
    missing = [name for name, p in parameters.items() if updated.count(id(p)) != 1]
    return f"{missing[0]} is updated {updated.count(id(parameters[missing[0]]))} times a step" if missing else None


def _descends(optimizer: Optimizer) -> str | None:
    parameters, trained = _problem()
    parts, losses = optimizer.build(trained), []
    for _ in range(STEPS):
        loss = sum(p.square().sum() for p in parameters.values())
        losses.append(float(loss))
        loss.backward()  # type: ignore[union-attr]
        for part in parts:
            part.step()
            part.zero_grad()
    return None if losses[-1] < losses[0] else f"the loss went from {losses[0]:.4g} to {losses[-1]:.4g}"


def _state(optimizer: Optimizer) -> str | None:
    import torch

    parameters, trained = _problem()
    parts = optimizer.build(trained)
    sum(p.square().sum() for p in parameters.values()).backward()  # type: ignore[union-attr]
    for part in parts:
        part.step()
    for part in parts:
        for state in part.state.values():
            if wrong := [key for key, value in state.items() if not isinstance(value, torch.Tensor)]:
                return f"{wrong[0]!r} of its state is no tensor, so a checkpoint cannot hold it"
    return None
