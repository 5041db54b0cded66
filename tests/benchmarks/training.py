"""Training speed: our loop beside three others on the same tokens, block by block in one run.

    python tests/benchmarks/training.py [--width 96] [--layers 3] [--heads 3] [--vocabulary 4096] [--context 256]
                                        [--batch-tokens 1024] [--seconds 20] [--peers plain,eager,trainer,bf16] [--json]

`plain` is what one writes by hand: pre-norm blocks with flash attention through SDPA, the whole logits, cross_entropy,
clip_grad_norm_, AdamW, batches cut at random out of one memory-mapped file. `eager` is that loop around transformers'
Llama in our shape, `trainer` is transformers' Trainer around the same model, and `bf16` is ours in that precision. The
same tokens and threads, parameters to within a few per cent; each loop has a process of its own with the same
environment, hence the same allocator. Blocks of steps alternate, so that other load on the machine hits all of them; a
ratio is the median of the blocks' ratios. `data` is the share of our processor time that goes into batches.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
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
from windtunnel.trainer.loop.compute import Compute
from windtunnel.trainer.loop.loop import Loop
from windtunnel.trainer.loop.step import Batches
from windtunnel.trainer.loop.train import Stage
from windtunnel.trainer.runtime.numerics import numerics
from windtunnel.trainer.runtime.precision import Precision, check

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
        self.model = self.build(options)
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        vectors = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self.adamw = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))

    def build(self, options: argparse.Namespace) -> nn.Module:
        return GPT(options.vocabulary, options.context, options.width, options.layers, options.heads)

    def loss(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.model(ids, targets)

    def take(self, step: int) -> None:
        starts = torch.randint(len(self.data) - self.context, (self.rows,))
        ids = torch.stack([torch.from_numpy(self.data[i : i + self.context].astype(np.int64)) for i in starts])
        targets = torch.stack(
            [torch.from_numpy(self.data[i + 1 : i + 1 + self.context].astype(np.int64)) for i in starts]
        )
        loss = self.loss(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        loss.item()


def transformers_llama(options: argparse.Namespace) -> Any:
    """Transformers' Llama in the shape that we give to `width`, `layers` and `heads`."""
    from windtunnel.trainer.models.llama import Llama

    sizes = {"width": options.width, "layers": options.layers, "heads": options.heads, "context": options.context}
    torch.manual_seed(0)
    return Llama(**sizes).build(options.vocabulary, 0)  # type: ignore[arg-type]


class EagerLoop(PlainLoop):
    """The plain loop around transformers' Llama."""

    def build(self, options: argparse.Namespace) -> nn.Module:
        return transformers_llama(options)

    def loss(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self.model(input_ids=ids).logits.flatten(0, 1), targets.flatten())


class Slices(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Cuts of one memory-mapped file, for Trainer."""

    def __init__(self, file: Path, context: int) -> None:
        self.data, self.context = np.memmap(file, np.uint16, "r"), context

    def __len__(self) -> int:
        return len(self.data) // self.context

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        start = index * self.context
        ids = torch.from_numpy(self.data[start : start + self.context].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


def run_trainer(options: argparse.Namespace, file: Path, connection: Connection) -> None:
    """Serve blocks of steps of transformers' Trainer, from its callback at the end of a step."""
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    class Blocks(TrainerCallback):
        started, done = 0.0, 0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step < 3:
                return
            if state.global_step > 3:
                self.done += options.batch_tokens // options.context * options.context
                if time.process_time() - self.started < BLOCK_SECONDS:
                    return
                connection.send(self.done / (time.process_time() - self.started))
            else:
                connection.send(sum(p.numel() for p in model.parameters()))
            control.should_training_stop = not connection.recv()
            self.started, self.done = time.process_time(), 0

    model = transformers_llama(options)
    words = TrainingArguments(
        output_dir=str(file.parent / "trainer"),
        per_device_train_batch_size=options.batch_tokens // options.context,
        max_steps=10**9,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        weight_decay=0.1,
        max_grad_norm=1.0,
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        report_to="none",
        use_cpu=True,
    )
    data = Slices(file, options.context)
    trainer = Trainer(model=model, args=words, train_dataset=data, callbacks=[Blocks()])
    trainer.remove_callback(PrinterCallback)
    trainer.train()


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


def our_loop(options: argparse.Namespace, root: Path, precision: Precision = "float32") -> Any:
    """Our loop on invented tokens."""
    sizes = {"width": options.width, "layers": options.layers, "heads": options.heads, "context": options.context}
    words = {"causal_lm": {"lr": 1e-3, "batch_tokens": options.batch_tokens}}
    stage = Stage.from_specs("web", 0, {"llama": sizes}, {"constant": {}}, words)
    stage = dataclasses.replace(stage, compute=Compute(threads=options.threads, precision=precision))
    names = {"tokens:web": "tokens", "mix": "mix", "tokenizer": "tokenizer"}
    return Loop(stage, {role: Artifact(root / name) for role, name in names.items()}, root / "out", "benchmark", None)


def plain_loop(options: argparse.Namespace, root: Path) -> Any:
    """The plain loop on the same tokens."""
    return PlainLoop(options, root / "tokens" / "tokens" / "00000.ds")


def serve(name: str, options: argparse.Namespace, root: str, connection: Connection) -> None:
    """Run one loop in this process: for every message received, a block of steps; answer with tokens per CPU second."""
    torch.set_num_threads(options.threads)
    file = Path(root) / "tokens" / "tokens" / "00000.ds"
    if name == "trainer":
        run_trainer(options, file, connection)
        return
    tokens = options.batch_tokens // options.context * options.context
    ours: dict[str, Precision] = {"ours": "float32", "bf16": "bf16"}
    with numerics(options.threads, 0) if name in ours else contextlib.nullcontext():
        if name in ours:
            check(ours[name], "cpu")
            loop = our_loop(options, Path(root), ours[name])
            more: tuple[Any, ...] = (Batches(loop.data, "cpu"),)
        else:
            loop, more = (PlainLoop if name == "plain" else EagerLoop)(options, file), ()
        for step in range(3):
            loop.take(step, *more)
        connection.send(sum(p.numel() for p in loop.model.parameters()))
        step = 3
        while connection.recv():
            started, done = time.process_time(), 0
            while time.process_time() - started < BLOCK_SECONDS:
                loop.take(step, *more)
                step += 1
                done += tokens
            connection.send(done / (time.process_time() - started))


def alternate(
    options: argparse.Namespace, names: list[str], root: str
) -> tuple[dict[str, int], dict[str, list[float]]]:
    """Return parameters and tokens per CPU second of the loops, block by block."""
    context = multiprocessing.get_context("spawn")
    ends, children = {}, []
    for name in names:
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


def data_share(options: argparse.Namespace, root: Path, rate: float, steps: int = 50) -> float:
    """Return the share of our processor time that reading and laying out batches takes."""
    data = our_loop(options, root).data
    data.batch(0)
    started = time.process_time()
    for step in range(1, steps + 1):
        data.batch(step)
    return (time.process_time() - started) / steps / (options.batch_tokens / rate)


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
    parser.add_argument("--peers", default="plain,eager,trainer", help="by comma")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = ["ours", *options.peers.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        invent_tokens(Path(folder), options)
        parameters, rates = alternate(options, names, folder)
        with numerics(options.threads, 0):
            share = data_share(options, Path(folder), statistics.median(rates["ours"]))
    found = {
        name: {
            "tokens_per_cpu_second": round(statistics.median(rates[name])),
            "parameters": parameters[name],
            "ours_over_it": round(statistics.median(a / b for a, b in zip(rates["ours"], rates[name], strict=True)), 3),
            "lowest": round(min(a / b for a, b in zip(rates["ours"], rates[name], strict=True)), 3),
        }
        for name in names
    }
    if options.json:
        print(json.dumps({"loops": found, "data": share, "blocks": len(rates["ours"]), "threads": options.threads}))
        return
    print(f"{len(rates['ours'])} blocks each, {options.threads} thread(s), {options.batch_tokens} tokens a step")
    print(f"{'loop':8} {'parameters':>11} {'tokens/CPU s':>13} {'ours is':>8} {'lowest':>7}")
    for name, row in found.items():
        rate, ratio, lowest = row["tokens_per_cpu_second"], row["ours_over_it"], row["lowest"]
        print(f"{name:8} {row['parameters']:>11,} {rate:>13,} {ratio:>7.2f}x {lowest:>6.2f}x")
    print(f"data: {share:.2%} of our processor time")


if __name__ == "__main__":
    main()
