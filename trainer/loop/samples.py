"""Samples of text while a stage trains: what the model writes after fixed prompts, at fixed points.

Sampling is greedy or, at a temperature, draws by Gumbel noise from (seed, prompt, place): the same noise at every point
of every run of the seed, so that samples differ where the models do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from windtunnel.schemas.artifact import write_parquet
from windtunnel.schemas.watch import Watch
from windtunnel.trainer.data.chat import ChatEncoder, ChatError, prepare
from windtunnel.trainer.loop.looking import looking_at
from windtunnel.trainer.loop.validation import kept_rows
from windtunnel.trainer.models._model import kind_of
from windtunnel.trainer.modules.heads import hidden_states

if TYPE_CHECKING:
    from windtunnel.trainer.loop.loop import Loop

FILE = "samples.parquet"
SCHEMA = {"step": pl.Int64, "tokens": pl.Int64, "number": pl.Int64, "prompt": pl.String, "text": pl.String}
OWN = 3  # prompts from held-out documents, where none are given
WORDS = 8  # of a document


class Samples:
    """Continues prompts after the steps in `at`; of causal models, others write nothing."""

    def __init__(self, at: frozenset[int], watch: Watch) -> None:
        self.at, self.watch = at, watch
        self.prompts: list[tuple[str, list[int]]] = []
        self.ends: set[int] = set()
        self.rows = pl.DataFrame(schema=SCHEMA)

    def begin(self, loop: Loop) -> None:
        """Encode the prompts; go on with the rows of the steps that are done."""
        self.rows = kept_rows(loop.out / FILE, SCHEMA, loop.step)
        if kind_of(loop.model) != "causal" or loop.model.get_output_embeddings() is None:
            return
        tokenizer: Any = loop.setting.tokenizer
        end = int(tokenizer.eos_token_id)
        self.ends = {end}
        room = loop.setting.context - 1  # that a prompt may take
        if loop.objective.kind == "tokens":
            texts = self.watch.prompts or _beginnings(loop)
            encoded = [(text, [end, *tokenizer.encode(text, add_special_tokens=False)]) for text in texts]
            self.prompts = [(text, ids[-room:]) for text, ids in encoded]
            return
        prepare(tokenizer)
        encoder = ChatEncoder(tokenizer)
        self.ends |= set(encoder.stop_ids)
        for text in self.watch.prompts or _questions(loop):
            try:
                self.prompts.append((text, encoder.prompt_ids([{"role": "user", "content": text}])[-room:]))
            except ChatError:  # it has special tokens of the template
                continue

    def wants(self, step: int) -> bool:
        """Return whether the model is asked after so many steps."""
        return bool(self.prompts) and step in self.at

    def settled(self, loop: Loop, rows: list[dict[str, float]]) -> None:
        """Continue the prompts where it is time to."""
        if not self.wants(loop.step):
            return
        with looking_at(loop) as call:
            texts = [
                loop.setting.tokenizer.decode(call(self._continued, ids, number, loop), skip_special_tokens=False)
                for number, (_, ids) in enumerate(self.prompts)
            ]
        new = [
            {"step": loop.step, "tokens": loop.tokens, "number": number, "prompt": prompt, "text": text}
            for number, ((prompt, _), text) in enumerate(zip(self.prompts, texts, strict=True))
        ]
        self.rows = pl.concat([self.rows, pl.DataFrame(new, SCHEMA)])
        write_parquet(loop.out / FILE, self.rows)

    def _continued(self, model: Any, prompt: Sequence[int], number: int, loop: Loop) -> list[int]:
        """Return the new token ids after a prompt, up to an end."""
        rng = np.random.default_rng([loop.stage.seed, number])
        head, new = model.get_output_embeddings(), list[int]()
        while len(new) < self.watch.tokens:
            ids = torch.tensor([[*prompt, *new][-loop.setting.context :]], device=model.device)
            logits = head(hidden_states(model, ids)[0, -1]).double().cpu().numpy()
            if self.watch.temperature > 0:
                logits = logits / self.watch.temperature + rng.gumbel(size=len(logits))
            token = int(logits.argmax())
            if token in self.ends:
                break
            new.append(token)
        return new


def _beginnings(loop: Loop) -> list[str]:
    """Return the first words of held-out documents, of different sources where there are several."""
    if "held_out" not in loop.setting.inputs:
        return []
    files = loop.setting.inputs["held_out"].files("documents")
    table = pl.concat([pl.read_parquet(file, columns=["source", "text"]) for file in files])
    return [" ".join(text.split()[:WORDS]) for text in _by_source(table) if text.split()]


def _questions(loop: Loop) -> list[str]:
    """Return the first user turns of held-out conversations."""
    if "held_out_conversations" not in loop.setting.inputs:
        return []
    files = loop.setting.inputs["held_out_conversations"].files("rows")
    table = pl.concat([pl.read_parquet(file, columns=["source", "messages"]) for file in files])
    first = [
        next((str(m["content"]) for m in row["messages"] if m["role"] == "user"), "")
        for row in table.iter_rows(named=True)
    ]
    return _by_source(table.select("source", text=pl.Series(first, dtype=pl.String)).filter(pl.col("text") != ""))


def _by_source(table: pl.DataFrame) -> list[str]:
    """Return OWN texts, the first ones of each source in turn."""
    turn = table.with_columns(turn=pl.int_range(pl.len()).over("source")).sort("turn", "source", maintain_order=True)
    return turn["text"].head(OWN).to_list()
