"""Alignment speed: our SFT and DPO beside TRL's on the same tiny model and rows, and what a second beta of DPO costs.

    python tests/benchmarks/alignment.py [--rows 128] [--blocks 3] [--threads 1] [--width 128] [--json]

A block is one epoch of the same rows in steps of about sixteen rows. The unit is learnt tokens per second of CPU time
(which other load on the machine disturbs less than the clock): tokens of answers, which both sides put into the loss.
TRL runs without what would slow it on a CPU (bf16, activation checkpointing, logging, saving) and, for DPO, with the
reference's log-probabilities computed beforehand, as ours are. Encoding, start-up and references are left out on both
sides; what TRL sets up anew in every call of `train` is not. Each side has a process of its own, with the same
environment. Blocks alternate; the ratio is the median of the blocks'.

The second part times whole stages of DPO, from rows to scores: one that computes the reference, and one with another
beta that finds it in the cache. At one epoch the reference is one forward pass of four passes, a backward one counted
twice, so that no cache saves more than a quarter of what is not encoding.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import shutil
import statistics
import tempfile
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest
from windtunnel.schemas.records import CONVERSATION, PREFERENCE

ROWS_A_STEP = 16


def text(rng: np.random.Generator, mean: float) -> str:
    """Invented words, as many as chat turns have: few long ones, many short ones."""
    count = int(np.clip(rng.lognormal(np.log(mean), 0.8), 3, 180))
    return " ".join(f"{'bcdfglmnprst'[k % 12]}{'aeiou'[k % 5]}{'nrstlm'[k % 6]}" for k in rng.zipf(1.3, count) % 997)


def said(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def rows(kind: str, count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    out: list[dict[str, Any]] = []
    for k in range(count):
        prompt, first = said("user", text(rng, 60)), said("assistant", text(rng, 40))
        if kind == "conversations":
            more = said("user", text(rng, 20)) + said("assistant", text(rng, 40)) if k % 2 else []
            out.append({"id": str(k), "messages": prompt + first + more, "source": "invented"})
        else:
            rejected = said("assistant", text(rng, 40))
            out.append({"id": str(k), "prompt": prompt, "chosen": first, "rejected": rejected, "source": "invented"})
    return out


def artifact(path: Path, records: list[dict[str, Any]], schema: pa.Schema) -> Artifact:
    (path / "rows").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(records, schema), path / "rows" / "00000.parquet")
    manifest = Manifest(step="benchmark", version=1, key=path.name.ljust(32, "0"), config={})
    manifest.write(path / MANIFEST)
    return Artifact(path)


def tokenizer(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from windtunnel.trainer.data.chat import CHATML

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4096, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.chat_template = CHATML
    return made


def model(width: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4096, hidden_size=width, intermediate_size=width * 8 // 3, num_hidden_layers=4,
            num_attention_heads=width // 32, num_key_value_heads=width // 32, max_position_embeddings=1024,
            tie_word_embeddings=True,
        )
    )  # fmt: skip


class Ours:
    """Our data, loss and optimiser, stepped as the training loop steps them."""

    def __init__(self, kind: str, given: Artifact, width: int, folder: Path, words: Any):
        from windtunnel.trainer.loop.optim import Optimiser
        from windtunnel.trainer.objectives._objective import Setting
        from windtunnel.trainer.objectives.dpo import Dpo
        from windtunnel.trainer.objectives.sft import Sft

        self.model = model(width).eval()
        setting = Setting({kind: given}, words, 1024, 0, folder / "cache")
        made = Sft if kind == "conversations" else Dpo
        probe: Any = made(batch_tokens=10**6).open(setting, self.model)
        self.learnt = int(probe.rows.targets.sum())
        largest = int(probe.rows.targets.max())
        step = max(largest, round(self.learnt / len(probe.rows) * ROWS_A_STEP))
        self.objective = made(batch_tokens=step, lr=1e-4)
        self.data = self.objective.open(setting, self.model)
        self.model.train()
        self.optimiser = Optimiser(dict(self.model.named_parameters()), self.objective)

    def epoch(self) -> float:
        start = time.process_time()
        for step in range(self.data.steps):
            normaliser = 0.0
            for batch in self.data.batch(step):
                loss = self.objective.loss(self.model, batch)
                loss.total.backward()
                normaliser += loss.normaliser
            self.optimiser.step(1e-4, normaliser)
        return time.process_time() - start


class Theirs:
    """TRL's trainer on the same rows."""

    def __init__(self, kind: str, records: list[dict[str, Any]], width: int, folder: Path, words: Any):
        from datasets import Dataset
        from transformers import PrinterCallback
        from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

        common: dict[str, Any] = {
            "output_dir": str(folder), "bf16": False, "use_cpu": True, "gradient_checkpointing": False,
            "report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
            "per_device_train_batch_size": ROWS_A_STEP, "num_train_epochs": 1, "learning_rate": 1e-4,
            "max_length": 1024,
        }  # fmt: skip
        if kind == "conversations":
            data = Dataset.from_list([{"messages": r["messages"]} for r in records])
            config: Any = SFTConfig(assistant_only_loss=True, **common)
            made: Any = SFTTrainer
        else:
            data = Dataset.from_list([{k: r[k] for k in ("prompt", "chosen", "rejected")} for r in records])
            config, made = DPOConfig(precompute_ref_log_probs=True, **common), DPOTrainer
        self.trainer = made(model(width), args=config, train_dataset=data, processing_class=words)
        self.trainer.remove_callback(PrinterCallback)

    def epoch(self) -> float:
        start = time.process_time()
        self.trainer.train()
        return time.process_time() - start


def quiet(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def inputs(kind: str, count: int, folder: Path) -> tuple[list[dict[str, Any]], Artifact, Any]:
    """Return rows, their artifact below `folder` and a tokenizer that has read them."""
    records = rows(kind, count)
    given = artifact(folder / kind, records, CONVERSATION if kind == "conversations" else PREFERENCE)
    return records, given, tokenizer([json.dumps(record) for record in records])


def serve(side: str, kind: str, args: argparse.Namespace, connection: Connection) -> None:
    """Run one side in this process: an epoch for every message received, answered with its CPU seconds."""
    quiet(args.threads)
    with tempfile.TemporaryDirectory() as name:
        records, given, words = inputs(kind, args.rows, Path(name))
        made: Any
        if side == "ours":
            made = Ours(kind, given, args.width, Path(name), words)
            connection.send(made.learnt)
        else:
            made = Theirs(kind, records, args.width, Path(name), words)
        made.epoch()  # the first one warms up
        while connection.recv():
            connection.send(made.epoch())


def measure(kind: str, args: argparse.Namespace) -> dict[str, float]:
    context, ends, children = multiprocessing.get_context("spawn"), {}, []
    for side in ("ours", "theirs"):
        ends[side], theirs = context.Pipe()
        children.append(context.Process(target=serve, args=(side, kind, args, theirs), daemon=True))
        children[-1].start()
    learnt = ends["ours"].recv()
    spent = []
    for _ in range(args.blocks):
        block = []
        for end in ends.values():
            end.send(True)
            block.append(end.recv())
        spent.append(block)
    for end in ends.values():
        end.send(False)
    for child in children:
        child.join()
    return {
        "ours_tokens_per_second": learnt / statistics.median(a for a, _ in spent),
        "trl_tokens_per_second": learnt / statistics.median(b for _, b in spent),
        "ratio": statistics.median(b / a for a, b in spent),
        "lowest": min(b / a for a, b in spent),
        "learnt_tokens": learnt,
    }


def second_beta(args: argparse.Namespace) -> dict[str, float]:
    """Return seconds of a stage of DPO that computes its reference, and of one of another beta that finds it."""
    from windtunnel.trainer.loop.loop import CACHE, Loop
    from windtunnel.trainer.loop.train import Stage
    from windtunnel.trainer.modules.export import export
    from windtunnel.trainer.runtime.numerics import numerics

    spent: dict[str, list[tuple[float, float]]] = {"first": [], "second": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, given, words = inputs("preferences", args.rows, folder)
        export(model(args.width), words, folder / "start")

        def stage(beta: float, out: Path) -> tuple[float, float]:
            wall, cpu = time.perf_counter(), time.process_time()
            spec = {"dpo": {"lr": 1e-4, "batch_tokens": 1600, "beta": beta}}
            made = Stage.from_specs("mix", 0, None, {"constant": {}}, spec)
            with numerics(args.threads, 0):
                loop = Loop(made, {"preferences": given, "held_out_preferences": given}, out, "", folder / "start")
                loop.go(None, 1e9, None)
                loop.finish()
            return time.perf_counter() - wall, time.process_time() - cpu

        stage(0.3, folder / "warm")
        for k in range(args.blocks):
            first, second = folder / f"first{k}", folder / f"second{k}"
            spent["first"].append(stage(0.1, first))
            shutil.copytree(first / CACHE, second / CACHE)
            spent["second"].append(stage(0.5, second))
    pairs = list(zip(spent["first"], spent["second"], strict=True))
    found = {f"{name}_seconds": statistics.median(wall for wall, _ in times) for name, times in spent.items()}
    found |= {f"{name}_cpu_seconds": statistics.median(cpu for _, cpu in times) for name, times in spent.items()}
    ratios = {"ratio": statistics.median(a / b for (a, _), (b, _) in pairs)}
    return {**found, **ratios, "cpu_ratio": statistics.median(a / b for (_, a), (_, b) in pairs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    quiet(args.threads)
    found = {name: measure(kind, args) for name, kind in (("sft", "conversations"), ("dpo", "preferences"))}
    beta = second_beta(args)
    if args.json:
        print(json.dumps({**found, "second_beta": beta}))
        return
    for name, line in found.items():
        print(
            f"{name}: ours {line['ours_tokens_per_second']:.0f} learnt tokens a CPU second, "
            f"TRL {line['trl_tokens_per_second']:.0f}, ratio {line['ratio']:.2f} (lowest {line['lowest']:.2f})"
        )
    print(
        f"a second beta: {beta['first_seconds']:.1f} s, then {beta['second_seconds']:.1f} s with the reference cached, "
        f"ratio {beta['ratio']:.2f} (CPU time {beta['cpu_ratio']:.2f})"
    )


if __name__ == "__main__":
    main()
