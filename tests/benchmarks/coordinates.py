"""Coordinate check of muP: how far a few steps move hidden states and logits, by width and depth.

    python tests/benchmarks/coordinates.py [--steps 4] [--lr 0.01] [--plot coordinates.svg]

With the standard parametrisation, the same learning rate moves wide models further (and deep ones); with `mup` all move
alike, so that a rate tuned at a small size suits large ones (Yang et al. 2022, arXiv 2203.03466, figure 5). Printed are
the mean sizes of the changes and the slope of their logarithm over that of the width: 0 is right.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from windtunnel.trainer.loop.optim import Optimiser
from windtunnel.trainer.models.llama import Llama
from windtunnel.trainer.objectives.causal_lm import CausalLM

WIDTHS, HEAD, VOCABULARY = (32, 64, 128, 256, 512), 16, 64
DEPTHS, DEEP_WIDTH = (2, 4, 8, 16), 64


def moved(width: int, layers: int, mup: bool, steps: int, lr: float, seed: int = 0) -> dict[str, float]:
    """Return the mean absolute change of the last block's states and of the logits after a few steps of AdamW."""
    torch.manual_seed(seed)
    base = {"width": WIDTHS[0], "layers": DEPTHS[0]} if mup else None
    spec: Any = {"width": width, "layers": layers, "heads": width // HEAD, "context": 32, "mup": base}
    plugin = Llama(**spec)
    model: Any = plugin.build(VOCABULARY, 0)
    rates = plugin.rates(model)
    optimiser = Optimiser(dict(model.named_parameters()), CausalLM(lr=lr, weight_decay=0, clip=1e9), rates=rates)  # type: ignore[call-arg]
    ids = torch.randint(0, VOCABULARY, (8, 33), generator=torch.Generator().manual_seed(1))

    def outputs() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            out = model(input_ids=ids[:, :-1], output_hidden_states=True)
        return out.hidden_states[-2], out.logits

    before = outputs()
    for _ in range(steps):
        logits = model(input_ids=ids[:, :-1]).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimiser.step(lr, 1.0)
    states, logits = (float((a - b).abs().mean()) for a, b in zip(outputs(), before, strict=True))
    return {"states": states, "logits": logits}


def slope(sizes: tuple[int, ...], values: list[float]) -> float:
    """Return the exponent with which values grow with the size."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def table(mup: bool, steps: int, lr: float) -> dict[str, dict[str, list[float]]]:
    """Return the changes by width and by depth."""
    wide = [moved(width, DEPTHS[0], mup, steps, lr) for width in WIDTHS]
    deep = [moved(DEEP_WIDTH, layers, mup, steps, lr) for layers in DEPTHS]
    return {
        "width": {name: [each[name] for each in wide] for name in wide[0]},
        "depth": {name: [each[name] for each in deep] for name in deep[0]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    curves = []
    for name, mup in (("standard", False), ("muP", True)):
        for over, values in table(mup, options.steps, options.lr).items():
            sizes = WIDTHS if over == "width" else DEPTHS
            for what, row in values.items():
                shown = "  ".join(f"{size}: {value:.4f}" for size, value in zip(sizes, row, strict=True))
                print(f"{name:9} {what:7} by {over}  {shown}   slope {slope(sizes, row):+.2f}")
                curves.append((f"{name}, {what} by {over}", sizes, row))
    if options.plot:
        options.plot.write_text(svg(curves), encoding="utf-8")


def svg(curves: list[tuple[str, tuple[int, ...], list[float]]]) -> str:
    """Return the curves as a chart on logarithmic axes."""
    values = [v for _, _, row in curves for v in row]
    low, high = np.log(min(values)), np.log(max(values))
    parts = []
    for k, (label, sizes, row) in enumerate(curves):
        steps = np.linspace(40, 420, len(sizes))
        points = " ".join(
            f"{x:.0f},{280 - 250 * (np.log(v) - low) / (high - low):.0f}" for x, v in zip(steps, row, strict=True)
        )
        colour = f"hsl({k * 360 // len(curves)},60%,45%)"
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="430" y="{30 + 16 * k}" fill="{colour}">{label}</text>')
    style = "<style>text{font:12px sans-serif}</style>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 300">{style}{"".join(parts)}</svg>'


if __name__ == "__main__":
    main()
