"""The training loop: holds the model, data, optimiser and log of a stage and takes its steps, resuming if interrupted.

`trainer.loop.train.train` drives it; objectives, deltas and schedules supply everything specific to a method.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl
import torch

from windtunnel.schemas.artifact import Artifact, canonical_json, write_parquet, write_text
from windtunnel.schemas.errors import InputError, TrainingError
from windtunnel.schemas.model_delta import SPEC, carried
from windtunnel.schemas.plugin import full_spec, label
from windtunnel.schemas.results import RunResult, Totals
from windtunnel.schemas.role import Role
from windtunnel.trainer.data.chat_choice import set_template
from windtunnel.trainer.deltas._delta import HEAD
from windtunnel.trainer.deltas.full import Full
from windtunnel.trainer.loop import checkpoint
from windtunnel.trainer.loop.log import Log
from windtunnel.trainer.loop.noise import NORM, SHARE, first_norm, gradient_noise
from windtunnel.trainer.loop.optim import Optimiser
from windtunnel.trainer.loop.ranks import ALONE, Ranks, full, like, shard_model
from windtunnel.trainer.loop.spikes import SKIPPED, is_spike, limit, too_many, write_spike
from windtunnel.trainer.loop.stage import Stage
from windtunnel.trainer.loop.step import Batches, Bound, InPrecision, compile_blocks, hidden_matrices, recompute_blocks
from windtunnel.trainer.models._model import context_of, counted_parameters, flops_per_token, kind_of, load
from windtunnel.trainer.modules.dropout import no_dropout
from windtunnel.trainer.modules.export import export, open_tokenizer
from windtunnel.trainer.objectives._objective import FORWARD_TOKENS, Data, Evaluation, Objective, Setting
from windtunnel.trainer.runtime.compiled import compiled_functions
from windtunnel.trainer.runtime.numerics import seed_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CACHE = "cache"  # directory of results that are costly to recompute, kept until the stage is finished
SETTLE = 16  # steps on a GPU between looks at losses and norms, for which the processor waits
Report = Callable[[int, int, float, float], None]  # step, steps, loss, tokens per second


class Watcher(Protocol):
    """Looks on while a stage trains: validates, logs, keeps checkpoints. What it does must not change the weights."""

    def begin(self, loop: Loop) -> None:
        """Make ready for a stage that begins, or goes on after `loop.step` steps."""
        ...

    def settled(self, loop: Loop, rows: list[dict[str, float]]) -> None:
        """See the rows of the log since the last call, up to step `loop.step`; on the first rank alone."""
        ...


class Loop:
    """The state of a stage in training: model, data, optimiser and log."""

    def __init__(
        self,
        stage: Stage,
        inputs: Mapping[str, Artifact],
        out: Path,
        digest: str,
        start: Path | None,
        ranks: Ranks = ALONE,
        models: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        """`models`: directories of models that earlier stages have trained, by name."""
        self.stage, self.out, self.digest, self.start, self.ranks = stage, out, digest, start, ranks
        directory = start or inputs["tokenizer"].path / "tokenizer"
        tokenizer = open_tokenizer(directory)
        objective = self.objective = _dealt_out(stage.objective, ranks.size)
        if objective.kind != "tokens":
            set_template(tokenizer, stage.template)
        model: Any = self._starting_model(start, tokenizer)
        objective.check_model(kind_of(model), str(start) if start else label(stage.model))  # type: ignore[arg-type]
        self.delta = next(iter(objective.deltas()), None)
        self.carried = carried(model)
        if self.delta is not None:
            self.delta = self.delta.sized(model)
        added = self.delta.added_positions if self.delta is not None and self.carried is None else 0
        context = context_of(model, stage.model, added)
        self.setting = Setting(inputs, tokenizer, context, stage.seed, out / CACHE, _models(inputs, models))
        model = objective.adopt(model)
        compute = stage.compute
        model = model.to(compute.device).eval()
        self.data: Data = objective.open(self.setting, model)
        if ranks.size > 1 and not self.data.shared:
            raise InputError(
                f"{label(objective)!r} learns from replies of its model in one process: leave `launch` out"
            )
        model = self._with_delta(model)
        objective.beside(model, self.data)
        self.model: PreTrainedModel = model.train()
        if compute.activation_checkpointing:
            recompute_blocks(model)
        self.compiled = compute.compiles(self._flops_per_token(causal=True) * self.data.steps * objective.batch_tokens)
        if self.compiled:
            compile_blocks(model)
        self.called = self._called(model)
        self.data.follow(model, self.called)
        trained = (self.delta or Full()).trainable(model)
        rates = stage.model.rates(model) if stage.model is not None else {}
        self.optimiser = Optimiser(trained, objective, hidden_matrices(model, trained), rates, ranks)
        self.settle_every = SETTLE if compute.device == "cuda" and objective.skip_spikes is None else 1
        self.log = Log()
        self.watchers: list[Watcher] = []
        self.looks: frozenset[int] = frozenset()  # steps after which watchers see the model as it is then
        self.looked = 0.0  # seconds that watchers took, which are not the training's
        self.noise = False  # whether the first micro-batch's gradient is measured
        self.step, self.tokens, self.seconds, self.cpu_seconds = 0, 0, 0.0, 0.0

    def _called(self, model: Any) -> torch.nn.Module:
        """Return what calls functions of the model, in the stage's precision and over all ranks."""
        compute = self.stage.compute
        if not self.ranks.sharded:
            return InPrecision(model, torch.bfloat16) if compute.precision == "bf16" else Bound(model)
        if self.delta is not None or self.carried is not None or self.objective.optimizer != "adamw":
            raise InputError("`shard: fsdp` trains the full model by `adamw`: use `shard: ddp`, or leave out the rest")
        called = Bound(model)
        shard_model(model, called, compute.device, compute.precision)
        return called

    def _with_delta(self, model: Any) -> Any:
        """Return the model as it trains: with the stage's delta, or with that of an earlier stage that goes on."""
        if self.carried is None:
            return model if self.delta is None else self.delta.put_on(model)
        earlier, own = self.carried
        if reason := self.objective.refuses(earlier) or (self.delta and self.delta.refusal(earlier)):
            raise InputError(reason)
        if self.delta is None or self.delta.trains == "all":
            return model.requires_grad_(True)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in own or name.startswith(HEAD))
        return model

    def _starting_model(self, start: Path | None, tokenizer: Any) -> PreTrainedModel:
        if start is not None:
            model: Any = load(start)
            vocabulary = max(tokenizer.get_vocab().values()) + 1
            if vocabulary > (rows := model.get_input_embeddings().num_embeddings):
                raise InputError(
                    f"{start}: the tokenizer has {vocabulary:,} token ids and the model embeds {rows:,}: it is not the "
                    "tokenizer that the model was trained with"
                )
            return model
        if self.stage.model is None:
            raise InputError("a stage needs a `model` to build or a directory to start from")
        return self.stage.model.build_for(tokenizer)

    def resume(self) -> None:
        """Load the checkpoint in `out`, if there is one."""
        saved = checkpoint.load(self.out, self.digest)
        if saved is None:
            return
        with torch.no_grad():
            for name, parameter in self.optimiser.parameters.items():
                parameter.copy_(like(saved.weights[name], parameter))
        self.optimiser.load(dict(saved.optimiser))
        self.log.load(saved.log)
        self.tokens = int(self.log.columns["tokens"][-1]) if self.log.columns else 0
        self.data.resume(self.log.columns)
        self.step, self.seconds, self.cpu_seconds = saved.step, saved.seconds, saved.cpu_seconds

    def go(self, report: Report | None, checkpoint_seconds: float, checkpoint_steps: int | None) -> None:
        """Take the remaining steps."""
        silent = nullcontext() if self.objective.dropout else no_dropout(self.model)
        with silent, compiled_functions(self.compiled):
            self._steps(report, checkpoint_seconds, checkpoint_steps)

    def _steps(self, report: Report | None, checkpoint_seconds: float, checkpoint_steps: int | None) -> None:
        started, cpu_started = time.perf_counter() - self.seconds, time.process_time() - self.cpu_seconds
        saved, device = time.perf_counter(), self.stage.compute.device
        batches = Batches(self.data, device, self.ranks)
        try:
            while self.step < self.data.steps:
                self.take(self.step, batches)
                self.step += 1
                last, counted = self.step == self.data.steps, bool(checkpoint_steps)
                due = counted and self.step % (checkpoint_steps or 1) == 0
                looked = self.step in self.looks
                if not (last or due or looked or self.log.waiting >= self.settle_every):
                    continue
                rows = self.settle()
                now = time.perf_counter()
                self.seconds, self.cpu_seconds = now - started, time.process_time() - cpu_started
                if report is not None and self.ranks.rank == 0:
                    report(self.step, self.data.steps, self.log.columns["loss"][-1], self.tokens / self.seconds)
                started, cpu_started = started + self._shown(rows), time.process_time() - self.cpu_seconds
                due = due if counted else self.ranks.any(now - saved >= checkpoint_seconds, device)
                if due and not last and self.data.resumable(self.step):
                    self._save()
                    saved = time.perf_counter()
        finally:
            batches.close()

    def _shown(self, rows: list[dict[str, float]]) -> float:
        """Let the watchers see the rows; return the seconds that took."""
        before = time.perf_counter()
        for watcher in self.watchers:
            watcher.settled(self, rows)
        spent = time.perf_counter() - before
        self.looked += spent
        return spent

    def take(self, step: int, batches: Batches) -> None:
        """Take one optimiser step: accumulate gradients over its micro-batches, normalise, clip, update."""
        ready = batches.of(step)
        seed_step(self.stage.seed, step)
        total: Any = 0.0
        normaliser: Any = 0.0
        metrics: dict[str, Any] = {}
        first: tuple[Any, Any] | None = None  # norm of the first micro-batch's gradient, and its normaliser
        for batch, factor in self.objective.with_step_sums(self.called, ready.batches, self._summed):
            loss = self.called(self.objective.loss, batch)
            (loss.total if factor == 1.0 else loss.total * factor).backward()
            total = total + loss.total.detach().double() * factor
            normaliser += loss.normaliser * factor
            if self.noise and first is None:
                first = first_norm(self.optimiser.parameters.values()), loss.normaliser
            for name, value in loss.metrics.items():
                metrics[name] = metrics.get(name, 0.0) + value * factor
        sums = self.ranks.summed([total, normaliser, *metrics.values()], self.stage.compute.device)
        total, normaliser, values = sums[0], sums[1], sums[2:]
        lr = self.objective.lr * self.stage.schedule.scale(step, self.data.steps)
        factor = self.objective.skip_spikes
        most = limit(self.log.columns, factor) if factor is not None else None
        norm = self.optimiser.step(lr, normaliser, most)
        if self.delta is not None:
            self.delta.after_step(self.model, step)
        self.optimiser.follow(step, self.data.steps)
        self.tokens += ready.tokens
        row = {"step": step, "tokens": self.tokens, "loss": total / normaliser, "lr": lr, "grad_norm": norm}
        if most is not None:
            row[SKIPPED] = float(is_spike(float(norm), most))
        if first is not None:
            row |= {NORM: first[0] / first[1], SHARE: first[1] / normaliser}
        means = {name: value / normaliser for name, value in zip(metrics, values, strict=True)}
        self.log.add({**row, **means, **self.data.facts(step)})

    def _summed(self, sums: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.as_tensor(s) for s in self.ranks.summed([*sums], self.stage.compute.device)])

    def settle(self) -> list[dict[str, float]]:
        """Fetch the numbers of the steps since the last call. Raises TrainingError for one that is not finite."""
        rows = self.log.settle()
        for row in rows:
            step, finite = int(row["step"]), math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])
            if (row.get(SKIPPED) or not finite) and self.ranks.rank == 0:
                write_spike(self.out, step, row, self.data.documents(step))
            if too_many(self.log.columns, self.data.steps) if row.get(SKIPPED) else not finite:
                raise self._diverged(step, row["lr"], row["loss"], row["grad_norm"])
        return rows

    def _diverged(self, step: int, lr: float, loss: float, norm: float) -> TrainingError:
        values = f"the loss is {loss:.4g}, its gradient's norm {norm}" if math.isfinite(loss) else f"the loss is {loss}"
        if skipped := sum(self.log.columns.get(SKIPPED, ())):
            values += f", after {skipped:.0f} steps that `skip_spikes` left out"
        ids = self.data.documents(step)
        listed = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        return TrainingError(
            f"mix {self.stage.mix!r}, seed {self.stage.seed}: at step {step} of {self.data.steps} {values}, "
            f"learning rate {lr:.3g}. Lower `lr` or lengthen the warm-up; the step's documents are {listed}"
        )

    def _flops_per_token(self, causal: bool = True) -> float:
        per_token = self.stage.model.training_flops if self.stage.model is not None else flops_per_token
        half = causal and kind_of(self.model) == "causal"  # the attention of other kinds is whole
        return per_token(self.model, self.data.window or self.setting.context, half)

    def _passed(self) -> float:
        """Return the tokens that went forward and back through the model; those that went forward count a third."""
        return self.tokens * self.objective.passes + sum(self.log.columns.get(FORWARD_TOKENS, ())) / 3

    def _save(self) -> None:
        weights = {name: full(p) for name, p in self.optimiser.parameters.items()}
        moments = {name: full(value) for name, value in self.optimiser.state().items()}
        state = checkpoint.Checkpoint(
            self.step, self.digest, weights, moments, self.log.arrays(), self.seconds, self.cpu_seconds
        )
        if self.ranks.rank == 0:
            checkpoint.save(state, self.out)
            self.log.write(self.out)

    def finish(self) -> RunResult | None:
        """Evaluate and export the model; return the result of the stage, on the first rank."""
        self.optimiser.take_average()
        self._gather()
        if self.ranks.rank > 0:
            return None
        self.log.write(self.out)
        realised = self.data.realised()
        write_parquet(self.out / "realised.parquet", pl.DataFrame(realised))
        self.objective.alone(self.model)
        self.model.eval()
        # on the CPU scores are float32 also of bf16 runs: they are few, and products are not the bulk of their time
        score = self.called if self.stage.compute.device == "cuda" else Bound(self.model)
        with torch.no_grad(), compiled_functions(self.compiled):
            evaluation = score(self.objective.evaluate, self.setting, self.out)
        result = self._result(evaluation, sum(row.get("bytes", 0) for row in realised))
        self.export(self.model, self.out / "model", self.out / "delta")
        return result

    def _gather(self) -> None:
        """Put the whole model on the first rank, where each has a part of its weights."""
        if not self.ranks.sharded:
            return
        weights = {name: full(value) for name, value in self.model.state_dict().items()}
        if self.ranks.rank == 0:
            model: Any = self.objective.adopt(self._starting_model(self.start, self.setting.tokenizer))
            model.load_state_dict(weights)
            self.model = model.to(self.stage.compute.device)
            low = self.stage.compute.precision == "bf16"
            self.called = InPrecision(model, torch.bfloat16) if low else Bound(model)

    def export(self, model: Any, out: Path, folder: Path) -> None:
        """Write the model's directory `out`, and `folder` where there is a delta; one not merged is part of `out` too.

        The model is not usable afterwards.
        """
        self.objective.alone(model)
        delta, plain = self.delta, model
        if self.carried is not None:
            delta, plain = self.carried.delta, self.carried.take_off(model, folder)
        elif delta is not None:
            delta.save(model, folder)  # before merging, which removes the delta's layers
            plain = delta.merge(model) if delta.mergeable else delta.base(model)
        if delta is not None:
            write_text(folder / SPEC, canonical_json(full_spec(delta)))
        beside = folder if delta is not None and not delta.mergeable else None
        export(self.objective.release(plain), self.setting.tokenizer, out, beside)

    def _result(self, evaluation: Evaluation, bytes_trained: int) -> RunResult:
        tokens, losses = self.tokens, self.log.columns["loss"]
        domains = {
            name: Totals(nats=sums["nats"], bytes=int(sums["bytes"]), documents=int(sums["documents"]))
            for name, sums in evaluation.totals.items()
        }
        tail = [loss for loss in losses[-max(1, len(losses) // 10) :] if math.isfinite(loss)] or losses[-1:]
        return RunResult(
            mix=self.stage.mix,
            seed=self.stage.seed,
            config=self.digest,
            objective=label(self.objective),
            delta=label(self.delta) if self.delta is not None else None,
            measure=self.objective.measure if self.objective.scores else None,
            parameters=counted_parameters(self.model)[0],
            trained_parameters=sum(p.numel() for p in self.optimiser.parameters.values()),
            tokens=tokens,
            steps=self.data.steps,
            skipped_steps=int(sum(self.log.columns.get(SKIPPED, ()))),
            bytes_trained=bytes_trained,
            flops=self._flops_per_token() * self._passed(),
            flops_whole_attention=self._flops_per_token(causal=False) * self._passed(),
            seconds=round(self.seconds, 3),
            cpu_seconds=round(self.cpu_seconds, 3),
            tokens_per_second=round(tokens / max(self.seconds, 1e-9), 1),
            final_loss=math.fsum(tail) / len(tail),
            loss_unit=self.objective.unit,
            documents_per_batch=_documents_per_batch(self.data),
            held_out=Totals.of(domains.values()) if domains else None,
            domains=domains,
            metrics=evaluation.metrics,
            checkpoints=checkpoint.kept_steps(self.out),
            gradient_noise=gradient_noise(self.log.columns),
        )


def _documents_per_batch(data: Data) -> float:
    """Return the mean number of documents (or rows) in the micro-batches of a step, from a few steps of the stage."""
    steps = sorted({round(k * (data.steps - 1) / 8) for k in range(9)})
    counts = [len(data.documents(step)) for step in steps]
    return round(sum(counts) / len(counts), 2)


def _models(inputs: Mapping[str, Artifact], earlier: Mapping[str, Path]) -> dict[str, Path]:
    """Return the directories of models that a stage may read: those of the recipe, and of earlier stages."""
    named = {role: Role.parse(role) for role in inputs}
    return {role.names[0]: inputs[key].path / "model" for key, role in named.items() if role.kind == "model"} | dict(
        earlier
    )


def _dealt_out(objective: Objective, ranks: int) -> Objective:
    """Return the objective with micro-batches small enough that every rank gets one."""
    if ranks == 1:
        return objective
    most = max(1, objective.batch_tokens // ranks)
    return objective.model_copy(update={"micro_tokens": min(objective.micro_tokens or most, most)})
