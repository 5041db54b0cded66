"""What every delta costs on a small Llama: trained share, stored bytes, peak memory, time of a step.

    python tests/benchmarks/deltas.py [--share 0.02] [--width 256] [--layers 6] [--rows 8] [--steps 6] [--json]

Deltas whose size is a number get `--share` of the weights, the others have their defaults. Each has a process of its
own, which takes steps of AdamW on the same random tokens by the trainer's own hidden states and loss, on one thread.
Peak memory is what the process's largest resident set has above that with the base model in it, so that it holds
gradients, moments and activations. The time is the median processor time of a step, which other load disturbs less
than the clock; that of `full` is 1. Stored bytes are what `save` writes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from windtunnel.schemas.plugin import find, label, make, names
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.deltas._sized import SizedDelta

VOCABULARY, END = 4096, 0
METHODS: dict[str, dict[str, Any]] = {
    "peft": {"method": "LoHa", "params": {"r": 4}},
    "prompt": {"length": 16},  # of the share, it would have more positions than the model
}
COLUMNS = ("delta", "size", "trained", "share", "stored kB", "peak MB", "step", "merged", "first loss", "last loss")


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what one delta costs, measured in this process."""
    import torch

    from windtunnel.trainer.models.llama import Llama
    from windtunnel.trainer.runtime.numerics import numerics

    sizes: dict[str, Any] = {"width": options.width, "layers": options.layers, "heads": 4, "context": 256}
    with numerics(threads=1, seed=0), tempfile.TemporaryDirectory() as folder:
        small = Llama(**{**sizes, "width": 64, "layers": 1}).build(VOCABULARY, END)
        train(make(Delta, {name: METHODS.get(name, {})}), small, 1, 2)  # imports and compiled kernels are nobody's cost
        torch.manual_seed(0)  # the same base for every delta
        base = Llama(**sizes).build(VOCABULARY, END)
        total = sum(p.numel() for p in base.parameters())
        sized = issubclass(find(Delta, name), SizedDelta)
        delta: Any = make(Delta, {name: METHODS.get(name, {"share": options.share} if sized else {})}).sized(base)
        before = resident()
        model, times, losses = train(delta, base, options.rows, options.steps)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        delta.save(model, Path(folder))
        stored = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    count = sum(p.numel() for p in delta.trainable(model).values())
    return {
        "delta": label(delta),
        "size": f"{delta.dial} {getattr(delta, delta.dial)}" if sized else "",
        "trained": count,
        "share": count / total,
        "stored": stored,
        "peak": peak,
        "seconds": statistics.median(times[1:]),
        "merged": delta.mergeable,
        "losses": [losses[0], losses[-1]],
    }


def train(delta: Any, base: Any, rows: int, steps: int) -> tuple[Any, list[float], list[float]]:
    """Train on the same random rows in every step; return the model, the seconds and the losses of the steps."""
    import torch

    from windtunnel.trainer.losses.cross_entropy import summed_nats
    from windtunnel.trainer.modules.heads import hidden_states, output_weight

    positions = 256 - delta.added_positions
    ids = torch.randint(VOCABULARY, (rows, positions + 1), generator=torch.Generator().manual_seed(0))
    model = delta.apply(base).train()
    optimizer = torch.optim.AdamW(delta.trainable(model).values(), lr=1e-3)
    times, losses = [], []
    for step in range(steps):
        began = time.process_time()
        hidden = hidden_states(model, ids[:, :-1]).flatten(0, 1)
        loss = summed_nats(hidden, output_weight(model), ids[:, 1:].flatten()) / ids[:, 1:].numel()
        loss.backward()
        optimizer.step()
        delta.after_step(model, step)
        optimizer.zero_grad()
        times.append(time.process_time() - began)
        losses.append(loss.item())
    return model, times, losses


def resident() -> int:
    """Return the bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def line(row: dict[str, Any], full: float) -> str:
    """Return a row of the Markdown table; a step is in units of that of `full`, which took so many seconds."""
    first, last = row["losses"]
    cells = (
        row["delta"], row["size"], f"{row['trained']:,}", f"{row['share']:.2%}", f"{row['stored'] / 1e3:,.0f}",
        f"{row['peak'] / 1e6:,.0f}", f"{row['seconds'] / full:.2f}", "yes" if row["merged"] else "no",
        f"{first:.3f}", f"{last:.3f}",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.02)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--one", help="measure this delta in this process")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options)))
        return
    rows: list[dict[str, Any]] = []
    if not options.json:
        print("| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS), sep="\n")
    for name in sorted(names("delta"), key=lambda name: (name != "full", name)):
        command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr[-2000:]}")
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        if not options.json:
            print(line(rows[-1], rows[0]["seconds"]), flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
