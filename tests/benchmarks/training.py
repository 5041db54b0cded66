"""Training speed: our loop beside a plain nanoGPT-style loop of the same shape, block by block in one run.

    python tests/benchmarks/training.py [--width 96] [--layers 3] [--heads 3] [--vocabulary 4096] [--context 256]
                                        [--batch-tokens 1024] [--seconds 20] [--json]

The peer is what one writes by hand: pre-norm blocks with flash attention through SDPA, the whole logits, cross_entropy,
clip_grad_norm_, AdamW, batches cut at random out of one memory-mapped file. The same tokens, threads and parameters to
within a few per cent. Blocks of steps alternate, so that other load on the machine hits both; the ratio is the median
of the blocks' ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import nn

from windtunnel.schemas.artifact import Artifact
from windtunnel.trainer.loop.loop import Loop
from windtunnel.trainer.loop.step import Batches
from windtunnel.trainer.loop.train import Stage
from windtunnel.trainer.runtime.numerics import numerics

BLOCK_SECONDS = 1.0


class Block(nn.Module):
    """LayerNorm, attention, LayerNorm, a feed-forward of four widths."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.before_mlp = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, positions, width = x.shape
        q, k, v = self.qkv(self.before_attention(x)).split(width, dim=2)
        q, k, v = (t.view(rows, positions, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(rows, positions, width))
        return x + self.down(F.gelu(self.up(self.before_mlp(x))))


class GPT(nn.Module):
    """Embeddings, blocks, a tied head, the loss."""

    def __init__(self, vocabulary: int, context: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.flatten())


class PlainLoop:
    """The step of a hand-written training script."""

    def __init__(self, options: argparse.Namespace, file: Path) -> None:
        torch.manual_seed(0)
        self.data = np.memmap(file, np.uint16, "r")
        self.context, self.rows = options.context, options.batch_tokens // options.context
        self.model = GPT(options.vocabulary, options.context, options.width, options.layers, options.heads)
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        vectors = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self.adamw = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))

    def take(self, step: int) -> None:
        starts = torch.randint(len(self.data) - self.context, (self.rows,))
        ids = torch.stack([torch.from_numpy(self.data[i : i + self.context].astype(np.int64)) for i in starts])
        targets = torch.stack(
            [torch.from_numpy(self.data[i + 1 : i + 1 + self.context].astype(np.int64)) for i in starts]
        )
        loss = self.model(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        loss.item()


def invent_tokens(root: Path, options: argparse.Namespace, documents: int = 2000) -> None:
    """Write token shards, a mix and a byte tokenizer: speed does not ask what the tokens mean."""
    from windtunnel.pipelines.datasets.tokenizer import write_directory

    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 1500, documents)
    tokens = (rng.zipf(1.3, int(lengths.sum())) % options.vocabulary).astype("<u2")
    (root / "tokens" / "tokens").mkdir(parents=True)
    (root / "tokens" / "documents").mkdir()
    tokens.tofile(root / "tokens" / "tokens" / "00000.ds")
    np.cumsum(lengths).astype("<u8").tofile(root / "tokens" / "tokens" / "00000.ds.index")
    ids = [f"{random.Random(i).getrandbits(128):032x}" for i in range(documents)]
    pl.DataFrame({"id": ids, "source": "s", "lang": "en", "bytes": lengths * 4, "tokens": lengths}).write_parquet(
        root / "tokens" / "documents" / "00000.parquet"
    )
    (root / "mix").mkdir()
    mix = {"domains": [{"name": "web", "weight": 1.0}], "token_budget": 10**9}
    (root / "mix" / "mix.json").write_text(json.dumps(mix))
    from tokenizers import Tokenizer, models

    vocabulary = {f"t{i}": i for i in range(options.vocabulary)} | {"<|endoftext|>": 0}
    vocabulary.pop("t0")
    write_directory(Tokenizer(models.WordLevel(vocabulary, unk_token="t1")).to_str(), root / "tokenizer" / "tokenizer")


def our_loop(options: argparse.Namespace, root: Path) -> Any:
    """Our loop on invented tokens."""
    sizes = {"width": options.width, "layers": options.layers, "heads": options.heads, "context": options.context}
    words = {"causal_lm": {"lr": 1e-3, "batch_tokens": options.batch_tokens}}
    stage = Stage.from_specs("web", 0, {"llama": sizes}, {"constant": {}}, words)
    names = {"tokens:web": "tokens", "mix": "mix", "tokenizer": "tokenizer"}
    return Loop(stage, {role: Artifact(root / name) for role, name in names.items()}, root / "out", "benchmark", None)


def plain_loop(options: argparse.Namespace, root: Path) -> Any:
    """The plain loop on the same tokens."""
    return PlainLoop(options, root / "tokens" / "tokens" / "00000.ds")


def serve(name: str, options: argparse.Namespace, root: str, connection: Connection) -> None:
    """Run one loop in this process: for every message received, a block of steps; answer with tokens per CPU second."""
    torch.set_num_threads(options.threads)
    tokens = options.batch_tokens // options.context * options.context
    with numerics(options.threads, 0) if name == "ours" else contextlib.nullcontext():
        loop = our_loop(options, Path(root)) if name == "ours" else plain_loop(options, Path(root))
        step = 0
        more = (Batches(loop.data, "cpu"),) if name == "ours" else ()
        for _ in range(3):
            loop.take(step, *more)
            step += 1
        model: nn.Module = loop.model
        connection.send(sum(p.numel() for p in model.parameters()))
        while connection.recv():
            started, done = time.process_time(), 0
            while time.process_time() - started < BLOCK_SECONDS:
                loop.take(step, *more)
                step += 1
                done += tokens
            connection.send(done / (time.process_time() - started))


def alternate(options: argparse.Namespace, root: str) -> tuple[dict[str, int], dict[str, list[float]]]:
    """Return parameters and tokens per CPU second of both loops, block by block."""
    context = multiprocessing.get_context("spawn")
    ends, children = {}, []
    for name in ("ours", "plain"):
        ends[name], theirs = context.Pipe()
        children.append(context.Process(target=serve, args=(name, options, root, theirs), daemon=True))
        children[-1].start()
    parameters = {name: end.recv() for name, end in ends.items()}
    rates: dict[str, list[float]] = {name: [] for name in ends}
    stop = time.perf_counter() + options.seconds
    while time.perf_counter() < stop or len(rates["ours"]) < 3:
        for name, end in ends.items():
            end.send(True)
            rates[name].append(end.recv())
    for end in ends.values():
        end.send(False)
    for child in children:
        child.join()
    return parameters, rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {
        "width": 96,
        "layers": 3,
        "heads": 3,
        "vocabulary": 4096,
        "context": 256,
        "batch-tokens": 1024,
        "threads": 1,
    }
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        invent_tokens(Path(folder), options)
        parameters, rates = alternate(options, folder)
    ratios = [a / b for a, b in zip(rates["ours"], rates["plain"], strict=True)]
    found = {
        "ours_tokens_per_cpu_second": round(statistics.median(rates["ours"])),
        "plain_tokens_per_cpu_second": round(statistics.median(rates["plain"])),
        "ratio": round(statistics.median(ratios), 3),
        "lowest_ratio": round(min(ratios), 3),
        "blocks": len(ratios),
        "ours_parameters": parameters["ours"],
        "plain_parameters": parameters["plain"],
        "batch_tokens": options.batch_tokens,
        "threads": options.threads,
    }
    print(json.dumps(found) if options.json else "\n".join(f"{key:28} {value}" for key, value in found.items()))


if __name__ == "__main__":
    main()
