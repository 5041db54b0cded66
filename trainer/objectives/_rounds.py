"""The rounds of objectives that learn from the model's own replies: sampled, scored, and laid out for the loss."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from blake3 import blake3

from windtunnel.schemas.errors import InputError, TrainingError
from windtunnel.schemas.model_delta import carried
from windtunnel.schemas.plugin import label
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat import ChatEncoder
from windtunnel.trainer.data.packing import Row
from windtunnel.trainer.data.row_schedule import RowSchedule
from windtunnel.trainer.losses.policy import adapted
from windtunnel.trainer.objectives._objective import FORWARD_TOKENS, Data, Setting
from windtunnel.trainer.rewards._reward import Places, Reply, Scores, checked
from windtunnel.trainer.rollouts.prompts import Prompts
from windtunnel.trainer.rollouts.round import Round, micro_batches_of, of_tokens, paired
from windtunnel.trainer.rollouts.vllm import VllmSampler

if TYPE_CHECKING:
    from windtunnel.trainer.rollouts.sampling import Sampled

RANGE = 10  # by which the level of beta differs from the given one at most, so that it is not far off when it matters
NO_SIGNAL_ROUNDS = 5  # in which all replies have one reward, from the first on, after which a stage stops
Call = Callable[..., Any]


class Lesson(NamedTuple):
    """The inputs of the loss by name, and which replies it learns from."""

    per_token: Mapping[str, list[np.ndarray]]
    per_reply: Mapping[str, np.ndarray]
    chosen: Sequence[int] | None = None  # None: all of them
    pairs: Sequence[tuple[int, int]] | None = None  # of replies to one prompt, learnt in place of single ones
    facts: Mapping[str, float] = {}  # for the log


class Rounds(Data):
    """The rounds of a stage; `follow` names the model whose replies they are."""

    prefetched = False
    shared = False

    def __init__(
        self,
        objective: Any,  # an OnPolicy, which is made of rounds
        setting: Setting,
        prompts: Prompts,
        schedule: RowSchedule,
        reference: Any,
        places: Places,
        share: bool,
    ) -> None:
        self.objective, self.setting, self.prompts, self.schedule = objective, setting, prompts, schedule
        self.reference, self.places, self.share = reference, places, share
        self.reward = objective.rewarded()
        self.scorer = self.reward.scorer(places) if self.reward is not None else None
        self.updates = objective.epochs * objective.minibatches  # steps of a round
        self.steps = objective.rounds * self.updates
        encoder = ChatEncoder(setting.tokenizer)
        self.ends = [*encoder.stop_ids[:1], *([] if encoder.stop_ids else [int(setting.tokenizer.eos_token_id)])]  # type: ignore[arg-type]
        served = objective.rollouts
        self.server = VllmSampler(served.vllm, setting.cache) if served is not None else None
        self.server_gap = float("nan")
        self.model: Any = None
        self.call: Call | None = None
        self.beta = self.level = objective.beta
        self.kl = float("nan")  # of the last round
        self._number, self._made, self._lesson = -1, None, None
        self._learnt = False  # whether any round had rewards that differ
        self._forward_tokens = 0  # read without a backward pass since the last step

    def follow(self, model: Any, call: Call) -> None:
        self.model, self.call = model, call

    def resume(self, log: Mapping[str, Sequence[float]]) -> None:
        if log:
            self.beta, self.level, self.kl = log["beta"][-1], log["beta_level"][-1], log["kl"][-1]
            rows = (dict(zip(log, values, strict=True)) for values in zip(*log.values(), strict=True))
            self._learnt = any(map(self.objective.learns, rows))

    def resumable(self, step: int) -> bool:
        return step % self.updates == 0

    def batch(self, step: int) -> list[Batch]:
        number, update = divmod(step, self.updates)
        if number != self._number:
            self._begin(number)
        assert self._made is not None and self._lesson is not None
        made, lesson = self._made, self._lesson
        rows, ids = made.rows, made.ids
        if lesson.pairs is not None:
            rows = [paired(made.rows[a], made.rows[b]) for a, b in lesson.pairs]
            ids = [made.ids[a] for a, _ in lesson.pairs]
        replies = list(range(len(rows))) if lesson.chosen is None else list(lesson.chosen)
        epoch, part = divmod(update, self.objective.minibatches)
        order = sorted(replies, key=lambda k: self._key("order", number, epoch, k))
        parts = np.array_split(np.array(order), self.objective.minibatches)
        chosen = sorted(parts[part].tolist()) or order[:1]  # a step has a loss, also where there are fewer than steps
        return micro_batches_of(
            rows, ids, chosen, self.objective.micro_tokens, self.share, lesson.per_token, lesson.per_reply
        )

    def documents(self, step: int) -> list[str]:
        return [self.prompts.rows.ids[part.row].as_py() for part in self.schedule.parts(step // self.updates)]

    def realised(self) -> list[dict[str, Any]]:
        """Return the prompts that were replied to, by source; their bytes are those of no text that was read."""
        uses, sources = self.schedule.uses(), np.asarray(self.prompts.rows.sources.to_pylist(), dtype=object)
        lengths = self.prompts.rows.lengths.astype(np.int64)
        out = []
        for source in sorted(set(sources.tolist())):
            where = sources == source
            out.append(
                {
                    "domain": source,
                    "source": source,
                    "tokens": int((lengths[where] * uses[where]).sum()),
                    "bytes": 0,
                    "documents": int((uses[where] > 0).sum()),
                    "epochs": float(uses[where].mean()),
                }
            )
        return out

    def facts(self, step: int) -> dict[str, float]:
        """Return the columns of the log that describe the step's round."""
        made, lesson = self._made, self._lesson
        assert made is not None and lesson is not None
        forward, self._forward_tokens = self._forward_tokens, 0
        if self.read_further:
            forward += self.read_further * sum(len(row.ids) for row in made.rows) / self.objective.minibatches
        return {
            **of_rewards(made),
            "kl": float(made.kl.mean()),
            "beta": self.beta,
            "beta_level": self.level,
            "entropy": float(np.average(made.entropy, weights=made.tokens)),
            "length": float(made.tokens.mean()),
            "truncated": float(1 - made.ended.mean()),
            "failed": float(made.failed),
            FORWARD_TOKENS: float(forward),
            **lesson.facts,
            **({"server_gap": self.server_gap} if self.server is not None else {}),
        }

    def of_tokens(self, made: Round, function: Callable[..., Any], model: Any = None) -> list[np.ndarray]:
        """Return what `function` gives for the tokens of each reply: of the model that trains, or of another."""
        call = self.call if model is None else lambda asked, *args: asked(model, *args)
        assert call is not None
        self._forward_tokens += sum(len(row.ids) for row in made.rows)
        return of_tokens(call, function, made.rows, self.objective.micro_tokens, self.share)

    def _begin(self, number: int) -> None:
        """Make the replies of a round, whose model is the one at its first step."""
        if self.model is None or self.call is None:
            raise RuntimeError("`follow` comes before the first batch: it names the model whose replies are learnt")
        objective, call = self.objective, self.call
        if number > 0 and objective.target_kl is not None and not math.isnan(self.kl):
            level, self.beta = adapted(self.level, self.kl, objective.target_kl, objective.horizon)
            self.level = min(max(level, objective.beta / RANGE), objective.beta * RANGE)
        training = self.model.training
        self.model.eval()
        try:
            made = self._replied(number, call)
            logps = partial(log_probs, temperature=objective.temperature)
            made.old = self.of_tokens(made, logps)
            made.reference = self.of_tokens(made, logps, self.reference)
            objective.look(made, self)
        finally:
            self.model.train(training)
        lesson = objective.lesson(made, self.beta)
        self._check(number, made, lesson)
        self.kl = float(made.kl.mean())
        self._number, self._made, self._lesson = number, made, lesson

    def _replied(self, number: int, call: Call) -> Round:
        objective = self.objective
        numbers = [part.row for part in self.schedule.parts(number) for _ in range(objective.samples)]
        prompts = [self.prompts.ids(k) for k in numbers]
        about = [self.prompts.prompt(k) for k in numbers]
        seen = Counter[str]()  # where a round has more prompts than there are rows, each time samples anew
        keys = []
        for one in about:
            keys.append(self._key("reply", number, one.id, seen[one.id]))
            seen[one.id] += 1
        found = self._sampled(call, prompts, keys)
        words = self.setting.tokenizer
        replies = [
            Reply(one.id, one.messages, str(words.decode(each.ids, skip_special_tokens=True)), one.answer, each.ended)
            for one, each in zip(about, found, strict=True)
        ]
        scores = self._scored(replies)
        rewards, ended = np.array(scores.values, np.float64), np.array([each.ended for each in found])
        if objective.truncated is not None:
            rewards = np.where(ended, rewards, objective.truncated)
        rows = [
            Row.of([*prompt, *each.ids], [False] * len(prompt) + [True] * len(each.ids))
            for prompt, each in zip(prompts, found, strict=True)
        ]
        self._forward_tokens += sum(len(row.ids) for row in rows)
        entropy = np.array([each.entropy for each in found])
        made = Round([one.id for one in about], rows, objective.samples, rewards, entropy, ended, scores.failed)
        if self.server is not None:
            self._check_served(number, made, [each.served or [] for each in found])
        return made

    def _sampled(self, call: Call, prompts: list[list[int]], keys: list[int]) -> list[Sampled]:
        from windtunnel.trainer.rollouts.sampling import sample, uniforms

        own = self.objective
        if self.server is not None:
            return self.server.replies(self._write, prompts, keys, self.ends, own.temperature, own.max_tokens)
        drawn = uniforms(np.array(keys, np.uint64), own.max_tokens)
        return call(sample, prompts, drawn, self.ends, own.temperature, own.rollout_tokens)

    def _write(self, out: Path) -> None:
        """Write the policy as it is, without what trains beside it, as one model."""
        from windtunnel.trainer.modules.export import export, untie

        model = copy.deepcopy(self.model)
        self.objective.alone(model)
        delta = next(iter(self.objective.deltas()), None)
        if carried(model) is not None or (delta is not None and not delta.mergeable):
            raise InputError(
                "a server takes the weights of one model, and this delta is not merged into one: take `lora`"
            )
        plain = self.objective.release(delta.merge(model) if delta is not None else model)
        untie(plain)
        export(plain, self.setting.tokenizer, out)

    def _check_served(self, number: int, made: Round, served: list[list[float]]) -> None:
        """Add the entropies to a round of a server's. Raises InputError where it has other weights than the policy."""
        from windtunnel.trainer.losses.target_logps import target_entropies

        assert self.server is not None
        temperature = self.objective.temperature
        made.entropy = np.array(
            [e.mean() for e in self.of_tokens(made, partial(target_entropies, temperature=temperature))]
        )
        ours = np.concatenate(self.of_tokens(made, partial(log_probs, temperature=1.0)))
        self.server_gap = float(np.abs(ours - np.concatenate(served)).mean())
        if self.server_gap > self.server.server.tolerance:
            raise InputError(
                f"round {number + 1}: the log-probabilities that the server at {self.server.server.url} gives its "
                f"tokens are {self.server_gap:.3g} nats off the policy's, on the mean, beyond `tolerance`: it has "
                f"other weights, another tokenizer or a coarser precision. Start it on {self.server.folder}, whose "
                "embeddings are not tied: on CPUs vLLM keeps the old head of tied ones"
            )

    def _scored(self, replies: Sequence[Reply]) -> Scores:
        if self.reward is None or self.scorer is None:
            return Scores([0.0] * len(replies))
        if self.reward.asks_answer and (without := next((r.row for r in replies if r.answer is None), None)):
            raise InputError(
                f"the reward {label(self.reward)!r} compares with the row's answer, and row {without!r} has none"
            )
        return checked(self.reward, self.scorer, replies)

    def _check(self, number: int, made: Round, lesson: Lesson) -> None:
        """Raise TrainingError where there is nothing to learn from the first rounds on, or the model has run away."""
        kl = float(made.kl.mean())
        if kl > self.objective.max_kl:
            raise TrainingError(
                f"round {number + 1} of {self.objective.rounds} (step {number * self.updates}): the KL divergence to "
                f"the initial model is {kl:,.1f} nats a reply, beyond `max_kl: {self.objective.max_kl:g}`, at a mean "
                f"reward of {made.rewards.mean():.4g}. Lower `lr`, raise `beta`, or set `target_kl`"
            )
        learns = self.reward is None or self.objective.learns({**of_rewards(made), **lesson.facts})
        self._learnt = self._learnt or learns
        if not self._learnt and number + 1 >= min(NO_SIGNAL_ROUNDS, self.objective.rounds):
            text = self.setting.tokenizer.decode(made.rows[0].ids[made.rows[0].target])
            low, high = float(made.rewards.min()), float(made.rewards.max())
            given = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            raise TrainingError(
                f"the rewards of the first {number + 1} rounds, {given} in the last of them, do not differ where "
                f"{label(self.objective)!r} compares replies, which teaches nothing; the first reply of the last is "
                f"{one_line(text, 200)!r}. Begin with a model that is neither always wrong (an `sft` stage before, "
                "a larger `max_tokens`) nor always right (harder prompts), raise `samples` or `temperature`, or take a "
                "reward with degrees"
            )

    def _key(self, *parts: Any) -> int:
        content = "\0".join(map(str, (self.setting.seed, *parts)))
        return int.from_bytes(blake3(content.encode()).digest(8), "big")


def of_rewards(made: Round) -> dict[str, float]:
    """Return the columns of the log on a round's rewards; `same_reward` is a share of the groups."""
    groups = made.groups if made.samples > 1 else made.groups.T  # alone, a reply differs from those to others
    return {
        "reward": float(made.rewards.mean()),
        "reward_deviation": float(made.rewards.std()) if np.ptp(made.rewards) > 0 else 0.0,  # not what rounding leaves
        "same_reward": float((np.ptp(groups, axis=1) == 0).mean()),
    }


def log_probs(model: Any, batch: Mapping[str, Any], temperature: float) -> Any:
    """Return the log-probability of every target of a packed batch, [targets] in nats."""
    from windtunnel.trainer.losses.target_logps import target_log_probs

    return target_log_probs(model, batch, temperature)
