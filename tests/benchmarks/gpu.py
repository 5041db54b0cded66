"""Training speed on a GPU: our loop beside a nanoGPT-shaped one, by size, and several small models at once.

    python tests/benchmarks/gpu.py [--sizes 30M,124M,400M] [--seconds 8] [--at-once 8] [--tiny] [--json FILE]

The peer is what one writes by hand after nanoGPT: GPT-2 blocks with flash attention through SDPA, autocast to bf16, the
whole model compiled, all logits, fused AdamW, batches cut at random out of one memory-mapped file. Both take steps of
the same number of tokens; each has its own process. Model FLOPs are 6 x (parameters, without an untied input embedding)
+ 12 x layers x width x context a token (PaLM, appendix B), utilisation is their share of the card's dense bf16 peak of
the data sheet, 989 TFLOP/s for H100 and H200. Losses of the first and last step stand beside each rate. `--tiny` runs
all of it at toy sizes on any machine, which shows that it runs and nothing else.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from windtunnel.schemas.artifact import Artifact

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # of a script, this is its own folder
from tests.benchmarks.training import GPT

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}  # dense bf16, data sheets


@dataclass(frozen=True)
class Size:
    """The shape of a model and of its steps; `ff` is Llama's, the peer has 4 widths."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    context: int
    batch_tokens: int
    micro_tokens: int


SIZES = {
    "tiny": Size(512, 64, 2, 2, 64, 512, 256),
    "30M": Size(16_384, 512, 7, 4, 1024, 131_072, 131_072),
    "124M": Size(50_304, 768, 12, 12, 1024, 131_072, 65_536),
    "400M": Size(50_304, 1024, 28, 16, 1024, 131_072, 32_768),
}
SMALL_STEP = 16_384  # tokens of a step of each of several models at once


class Plain:
    """The step of a hand-written training script."""

    def __init__(self, size: Size, root: Path, device: str) -> None:
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("high")
        self.size, self.device = size, device
        self.data = np.memmap(root / "tokens" / "tokens" / "00000.ds", np.uint16, "r")
        shape = (size.vocabulary, size.context, size.width, size.layers, size.heads)
        self.plain = GPT(*shape).to(device)
        self.model: Any = torch.compile(self.plain) if device == "cuda" else self.plain
        matrices = [p for p in self.plain.parameters() if p.ndim >= 2]
        vectors = [p for p in self.plain.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self.adamw = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), fused=True)
        self.parameters = sum(p.numel() for p in self.plain.parameters()) - self.plain.positions.weight.numel()

    def _batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        size = self.size
        starts = torch.randint(len(self.data) - size.context, (size.micro_tokens // size.context,))
        rows = np.stack([self.data[i : i + size.context + 1].astype(np.int64) for i in starts.tolist()])
        ids = torch.from_numpy(rows)
        if self.device == "cuda":
            ids = ids.pin_memory().to("cuda", non_blocking=True)
        return ids[:, :-1], ids[:, 1:]

    def take(self) -> torch.Tensor:
        micro = self.size.batch_tokens // self.size.micro_tokens
        total = torch.zeros((), device=self.device)
        for _ in range(micro):
            ids, targets = self._batch()
            with torch.autocast(self.device, torch.bfloat16):
                loss = self.model(ids, targets) / micro
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.plain.parameters(), 1.0)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return total

    def losses(self, taken: list[torch.Tensor]) -> list[float]:
        return torch.stack(taken).tolist()


class Ours:
    """The step of our loop, on the same tokens."""

    def __init__(self, size: Size, root: Path, device: str, **compute: Any) -> None:
        from windtunnel.trainer.loop.compute import Compute
        from windtunnel.trainer.loop.loop import Loop
        from windtunnel.trainer.loop.stage import Stage
        from windtunnel.trainer.loop.step import Batches
        from windtunnel.trainer.runtime.compiled import compiled_functions
        from windtunnel.trainer.runtime.numerics import numerics

        gpu = device == "cuda"
        settings: Any = {"device": device, "precision": "bf16" if gpu else "float32", "compile": gpu, **compute}
        self.size, self.blocks = size, ExitStack()
        self.blocks.enter_context(numerics(1, 0, device, settings.get("deterministic", True)))
        names = ("width", "layers", "heads", "context")
        steps = {"lr": 6e-4, "batch_tokens": size.batch_tokens, "micro_tokens": size.micro_tokens}
        shape = {"llama": {name: getattr(size, name) for name in names}}
        stage = Stage.from_specs(
            "web", 0, shape, {"constant": {"warmup": 0}}, {"causal_lm": steps}, compute=Compute(**settings)
        )
        inputs = {role: Artifact(root / role.partition(":")[0]) for role in ("tokens:web", "mix", "tokenizer")}
        self.loop = Loop(stage, inputs, root / f"out{random.random()}", "benchmark", None)
        self.batches = Batches(self.loop.data, device)
        self.blocks.enter_context(compiled_functions(self.loop.compiled))
        self.parameters = sum(p.numel() for p in self.loop.model.parameters())
        self.step = 0

    def take(self) -> None:
        self.loop.take(self.step, self.batches)
        self.step += 1
        if self.loop.log.waiting >= self.loop.settle_every:
            self.loop.settle()

    def losses(self, taken: list[Any]) -> list[float]:
        self.loop.settle()
        return self.loop.log.columns["loss"]


def invent(root: Path, vocabulary: int, tokens: int) -> None:
    """Write token shards, a mix and a tokenizer of words: speed does not ask what tokens mean."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    rng = np.random.default_rng(0)
    documents = max(2, tokens // 700)
    lengths = rng.integers(20, 1400, documents)
    for part in ("tokens/tokens", "tokens/documents", "mix", "tokenizer"):
        (root / part).mkdir(parents=True)
    values = (rng.zipf(1.3, int(lengths.sum())) % vocabulary).astype("<u2")
    values.tofile(root / "tokens" / "tokens" / "00000.ds")
    np.cumsum(lengths).astype("<u8").tofile(root / "tokens" / "tokens" / "00000.ds.index")
    ids = [f"{random.Random(i).getrandbits(128):032x}" for i in range(documents)]
    frame = pl.DataFrame({"id": ids, "source": "s", "lang": "en", "bytes": lengths * 4, "tokens": lengths})
    frame.write_parquet(root / "tokens" / "documents" / "00000.parquet")
    mix = {"domains": [{"name": "web", "weight": 1.0}], "token_budget": 2 * 10**8}
    (root / "mix" / "mix.json").write_text(json.dumps(mix))
    words = {f"t{i}" if i else "<|endoftext|>": i for i in range(vocabulary)}
    made = Tokenizer(models.WordLevel(words, unk_token="t1"))
    whole = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>")
    whole.save_pretrained(str(root / "tokenizer" / "tokenizer"))


def serve(name: str, size: Size, root: str, device: str, compute: dict[str, Any], connection: Connection) -> None:
    """Warm up, report, and run steps for the seconds that are asked for; answer with tokens per second."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    loop: Any = Plain(size, Path(root), device) if name == "plain" else Ours(size, Path(root), device, **compute)
    taken = [loop.take() for _ in range(4)]
    _wait(device)
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    connection.send({"parameters": loop.parameters, "start_seconds": time.perf_counter() - started})
    while seconds := connection.recv():
        begin, steps = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            taken.append(loop.take())
            steps += 1
            if steps % 4 == 0:
                _wait(device)  # else thousands of steps would be queued before the first ends
        _wait(device)
        rate = steps * size.batch_tokens / (time.perf_counter() - begin)
        losses = loop.losses(taken)
        connection.send({"rate": rate, "first": losses[0], "last": losses[-1], "steps": len(losses), "memory": memory})


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class Process:
    """One loop in a process of its own."""

    def __init__(self, name: str, size: Size, root: Path, device: str, **compute: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.end, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(name, size, str(root), device, compute, theirs), daemon=True)
        self.process.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.end.send(0)
        self.process.join(30)
        self.process.kill()


def rate_of(name: str, size: Size, root: Path, device: str, seconds: float, **compute: Any) -> dict[str, Any]:
    """Return tokens per second, utilisation and losses of one loop by itself."""
    with Process(name, size, root, device, **compute) as one:
        start = one.end.recv()
        one.end.send(seconds)
        found = start | one.end.recv()
    attention = 12 * size.layers * size.width * size.context
    flops = (6 * found["parameters"] + attention) * found["rate"]
    return found | {"tflops": flops / 1e12, "mfu": flops / peak(device) if peak(device) else None}


def rate_at_once(number: int, size: Size, root: Path, device: str, seconds: float) -> float:
    """Return the summed tokens per second of several of our loops, each in a process of its own, on one device."""
    with ExitStack() as stack:
        several = [stack.enter_context(Process("ours", size, root, device)) for _ in range(number)]
        for one in several:
            one.end.recv()
        for one in several:
            one.end.send(seconds)
        return sum(one.end.recv()["rate"] for one in several)


def peak(device: str) -> float | None:
    """Return the dense bf16 peak of the card in FLOP/s by its data sheet; None for one that is not listed."""
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    return next((value for key, value in PEAKS.items() if key in name), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="30M,124M,400M")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = ["tiny"] if options.tiny else options.sizes.split(",")
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in sizes:
            size, root = SIZES[name], Path(folder) / name
            invent(root, size.vocabulary, 40 * size.batch_tokens)
            variants = {"plain": {}, "ours": {"deterministic": True}, "ours, any order": {"deterministic": False}}
            for label, compute in variants.items() if device == "cuda" else list(variants.items())[:2]:
                kind = label.partition(",")[0]
                found = rate_of(kind, size, root, device, options.seconds, **compute)
                lines.append({"size": name, "loop": label, **found})
                print(_line(lines[-1]), flush=True)
        name = "tiny" if options.tiny else "30M"
        step = min(SMALL_STEP, SIZES[name].batch_tokens)
        size = Size(**{**vars(SIZES[name]), "batch_tokens": step, "micro_tokens": step})
        root = Path(folder) / "several"
        invent(root, size.vocabulary, 100 * step)
        number = 2 if options.tiny else options.at_once
        alone = rate_at_once(1, size, root, device, options.seconds)
        together = rate_at_once(number, size, root, device, options.seconds)
        lines.append({"size": name, "loop": f"{number} at once", "alone": alone, "together": together})
        print(f"{name}, steps of {step:,} tokens: one {alone:,.0f} tokens/s, {number} at once {together:,.0f} in all, "
              f"{together / alone:.2f}x")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps({"device": device, "lines": lines}, indent=1))


def _line(line: dict[str, Any]) -> str:
    mfu = f"{line['mfu']:.1%}" if line["mfu"] else "-"
    return (
        f"{line['size']:>5} {line['loop']:16} {line['parameters'] / 1e6:7.1f}M {line['rate']:12,.0f} tokens/s "
        f"{line['tflops']:7.1f} TFLOP/s  MFU {mfu:>6}  loss {line['first']:.3f} -> {line['last']:.3f} "
        f"({line['steps']} steps)  {line['memory'] / 2**30:.1f} GiB  start {line['start_seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
