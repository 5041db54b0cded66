"""The training loop: holds the model, data, optimiser and log of a stage and takes its steps, resuming if interrupted.

`trainer.loop.train.train` drives it; objectives, deltas and schedules supply everything specific to a method.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.schemas.artifact import Artifact, canonical_json, write_parquet, write_text
from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.schemas.model_delta import SPEC, carried
from windtunnel.schemas.plugin import full_spec, label
from windtunnel.schemas.results import RunResult, Totals
from windtunnel.trainer.data.chat_choice import set_template
from windtunnel.trainer.deltas._delta import HEAD
from windtunnel.trainer.deltas.full import Full
from windtunnel.trainer.loop import checkpoint
from windtunnel.trainer.loop.optim import Optimiser
from windtunnel.trainer.loop.stage import Stage
from windtunnel.trainer.models._model import context_of, counted_parameters, flops_per_token, load
from windtunnel.trainer.modules.dropout import no_dropout
from windtunnel.trainer.modules.export import export, open_tokenizer
from windtunnel.trainer.objectives._objective import Data, Evaluation, Setting
from windtunnel.trainer.runtime.numerics import seed_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CACHE = "cache"  # directory of results that are costly to recompute, kept until the stage is finished
Report = Callable[[int, int, float, float], None]  # step, steps, loss, tokens per second


class TrainingError(WindtunnelError):
    """Training diverged; the message names the step, the learning rate and the documents."""


class Loop:
    """The state of a stage in training: model, data, optimiser and log."""

    def __init__(
        self, stage: Stage, inputs: Mapping[str, Artifact], out: Path, digest: str, start: Path | None
    ) -> None:
        self.stage, self.out, self.digest = stage, out, digest
        directory = start or inputs["tokenizer"].path / "tokenizer"
        tokenizer = open_tokenizer(directory)
        objective = stage.objective
        if objective.kind != "tokens":
            set_template(tokenizer, stage.template)
        model: Any = self._starting_model(start, tokenizer)
        self.delta = next(iter(objective.nested()), None)
        self.carried = carried(model)
        added = self.delta.added_positions if self.delta is not None and self.carried is None else 0
        context = context_of(model, stage.model, added)
        self.setting = Setting(inputs, tokenizer, context, stage.seed, out / CACHE)
        model = objective.adopt(model)
        model = model.to(stage.device).eval()
        self.data: Data = objective.open(self.setting, model)
        model = self._with_delta(model)
        self.model: PreTrainedModel = model.train()
        self.optimiser = Optimiser((self.delta or Full()).trainable(model), objective)
        self.log: dict[str, list[float]] = {}
        self.step, self.seconds, self.cpu_seconds = 0, 0.0, 0.0

    def _with_delta(self, model: Any) -> Any:
        """Return the model as it trains: with the stage's delta, or with that of an earlier stage that goes on."""
        if self.carried is None:
            return model if self.delta is None else self.delta.put_on(model)
        earlier, own = self.carried
        if reason := self.stage.objective.refuses(earlier) or (self.delta and self.delta.refusal(earlier)):
            raise InputError(reason)
        if self.delta is None or self.delta.trains == "all":
            return model.requires_grad_(True)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in own or name.startswith(HEAD))
        return model

    def _starting_model(self, start: Path | None, tokenizer: Any) -> PreTrainedModel:
        vocabulary = max(tokenizer.get_vocab().values()) + 1
        if start is not None:
            model: Any = load(start)
            if vocabulary > (rows := model.get_input_embeddings().num_embeddings):
                raise InputError(
                    f"{start}: the tokenizer has {vocabulary:,} token ids and the model embeds {rows:,}: it is not the "
                    "tokenizer that the model was trained with"
                )
            return model
        if self.stage.model is None:
            raise InputError("a stage needs a `model` to build or a directory to start from")
        return self.stage.model.build(vocabulary, int(tokenizer.eos_token_id))  # type: ignore[arg-type]

    def resume(self) -> None:
        """Load the checkpoint in `out`, if there is one."""
        import torch

        saved = checkpoint.load(self.out, self.digest)
        if saved is None:
            return
        with torch.no_grad():
            for name, parameter in self.optimiser.parameters.items():
                parameter.copy_(saved.weights[name])
        self.optimiser.load(dict(saved.optimiser))
        self.log = {name: values.tolist() for name, values in saved.log.items()}
        self.step, self.seconds, self.cpu_seconds = saved.step, saved.seconds, saved.cpu_seconds

    def go(self, report: Report | None, checkpoint_seconds: float, checkpoint_steps: int | None) -> None:
        """Take the remaining steps."""
        with nullcontext() if self.stage.objective.dropout else no_dropout(self.model):
            self._steps(report, checkpoint_seconds, checkpoint_steps)

    def _steps(self, report: Report | None, checkpoint_seconds: float, checkpoint_steps: int | None) -> None:
        started, cpu_started = time.perf_counter() - self.seconds, time.process_time() - self.cpu_seconds
        saved = time.perf_counter()
        while self.step < self.data.steps:
            self.take(self.step)
            self.step += 1
            now = time.perf_counter()
            self.seconds, self.cpu_seconds = now - started, time.process_time() - cpu_started
            if report is not None:
                report(self.step, self.data.steps, self.log["loss"][-1], self.log["tokens"][-1] / self.seconds)
            due = now - saved >= checkpoint_seconds if checkpoint_steps is None else self.step % checkpoint_steps == 0
            if due and self.step < self.data.steps:
                self._save()
                saved = time.perf_counter()

    def take(self, step: int) -> None:
        """Take one optimiser step: accumulate gradients over its micro-batches, normalise, clip, update."""
        stage, batches = self.stage, self.data.batch(step)
        seed_step(stage.seed, step)
        total, normaliser, tokens = 0.0, 0.0, 0
        metrics: dict[str, float] = {}
        for batch in batches:
            moved = batch._replace(tensors={k: v.to(stage.device) for k, v in batch.tensors.items()})
            loss = stage.objective.loss(self.model, moved)
            loss.total.backward()
            total += loss.total.item()
            normaliser += loss.normaliser
            tokens += batch.tokens
            for name, value in loss.metrics.items():
                metrics[name] = metrics.get(name, 0.0) + float(value)
        lr = stage.objective.lr * stage.schedule.scale(step, self.data.steps)
        norm = self.optimiser.step(lr, normaliser) if math.isfinite(total) else math.nan
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise self._diverged(step, lr, total / normaliser, norm)
        if self.delta is not None:
            self.delta.after_step(self.model, step)
        tokens_before = self.log["tokens"][-1] if self.log else 0.0
        row = {"step": step, "tokens": tokens_before + tokens, "loss": total / normaliser, "lr": lr, "grad_norm": norm}
        for name, value in {**row, **{name: value / normaliser for name, value in metrics.items()}}.items():
            self.log.setdefault(name, []).append(float(value))

    def _diverged(self, step: int, lr: float, loss: float, norm: float) -> TrainingError:
        values = f"the loss is {loss:.4g}, its gradient's norm {norm}" if math.isfinite(loss) else f"the loss is {loss}"
        ids = [key for batch in self.data.batch(step) for key in batch.documents]
        listed = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        return TrainingError(
            f"mix {self.stage.mix!r}, seed {self.stage.seed}: at step {step} of {self.data.steps} {values}, "
            f"learning rate {lr:.3g}. Lower `lr` or lengthen the warm-up; the step's documents are {listed}"
        )

    def _save(self) -> None:
        log = {name: np.array(values) for name, values in self.log.items()}
        weights = dict(self.optimiser.parameters)
        state = checkpoint.Checkpoint(
            self.step, self.digest, weights, self.optimiser.state(), log, self.seconds, self.cpu_seconds
        )
        checkpoint.save(state, self.out)
        self._write_log()

    def _write_log(self) -> None:
        integers = [pl.col("step", "tokens").cast(pl.Int64)] if self.log else []
        log = pl.DataFrame(self.log).select(sorted(self.log, key=_log_order)).with_columns(integers)
        write_parquet(self.out / "log.parquet", log)

    def finish(self) -> RunResult:
        """Evaluate and export the model; return the result of the stage."""
        self._write_log()
        realised = self.data.realised()
        write_parquet(self.out / "realised.parquet", pl.DataFrame(realised))
        self.model.eval()
        evaluation = self.stage.objective.evaluate(self.model, self.setting, self.out)
        result = self._result(evaluation, sum(row.get("bytes", 0) for row in realised))
        self._export()
        return result

    def _export(self) -> None:
        """Write model/, and delta/ where there is a delta; one that is not merged is part of model/ too."""
        delta, folder, plain = self.delta, self.out / "delta", self.model
        if self.carried is not None:
            delta, plain = self.carried.delta, self.carried.take_off(self.model, folder)
        elif delta is not None:
            delta.save(self.model, folder)  # before merging, which removes the delta's layers
            plain = delta.merge(self.model) if delta.mergeable else delta.base(self.model)
        if delta is not None:
            write_text(folder / SPEC, canonical_json(full_spec(delta)))
        beside = folder if delta is not None and not delta.mergeable else None
        export(plain, self.setting.tokenizer, self.out / "model", beside)

    def _flops_per_token(self, causal: bool) -> float:
        per_token = self.stage.model.training_flops if self.stage.model is not None else flops_per_token
        return per_token(self.model, self.data.window or self.setting.context, causal)

    def _result(self, evaluation: Evaluation, bytes_trained: int) -> RunResult:
        tokens = int(self.log["tokens"][-1])
        domains = {
            name: Totals(nats=sums["nats"], bytes=int(sums["bytes"]), documents=int(sums["documents"]))
            for name, sums in evaluation.totals.items()
        }
        tail = self.log["loss"][-max(1, len(self.log["loss"]) // 10) :]
        return RunResult(
            mix=self.stage.mix,
            seed=self.stage.seed,
            config=self.digest,
            objective=label(self.stage.objective),
            parameters=counted_parameters(self.model)[0],
            tokens=tokens,
            steps=self.data.steps,
            bytes_trained=bytes_trained,
            flops=self._flops_per_token(causal=True) * tokens,
            flops_whole_attention=self._flops_per_token(causal=False) * tokens,
            seconds=round(self.seconds, 3),
            cpu_seconds=round(self.cpu_seconds, 3),
            tokens_per_second=round(tokens / max(self.seconds, 1e-9), 1),
            final_loss=math.fsum(tail) / len(tail),
            documents_per_batch=_documents_per_batch(self.data),
            held_out=Totals.of(domains.values()) if domains else None,
            domains=domains,
            metrics=evaluation.metrics,
        )


def _documents_per_batch(data: Data) -> float:
    """Return the mean number of documents (or rows) in the micro-batches of a step, from a few steps of the stage."""
    steps = sorted({round(k * (data.steps - 1) / 8) for k in range(9)})
    counts = [sum(len(batch.documents) for batch in data.batch(step)) for step in steps]
    return round(sum(counts) / len(counts), 2)


def _log_order(column: str) -> tuple[int, str]:
    """Return a sort key that puts the columns of the loop before those of an objective, in any resumed run."""
    own = ("step", "tokens", "loss", "lr", "grad_norm")
    return (own.index(column) if column in own else len(own), column)
