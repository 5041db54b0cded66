"""Recipes to disturb: a store that is built without disturbance, and commands that build it anew."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import write_chat_model
from tests.generators.conftest import ScriptedServer, fits
from tests.generators.test_chain import LEADS
from tests.generators.test_chain import RECIPE as CHAT

ROOT = Path(__file__).parents[2]
CORPUS = """\
question: Does a rule change a tiny model?
store: {store}
corpora:
  raw: {{source: {{text: {text}}}}}
  filtered: {{from: raw, rules: [{{gopher_repetition: {{}}}}], dedup: {{minhash: {{threshold: 0.72}}}}}}
held_out: {{from: raw, share: 0.2}}
mixes: {{raw: {{raw: 1.0}}, filtered: {{filtered: 1.0}}}}
tokens: {{tokenizer: {{bpe: 400, trained_on: raw}}, budget: 40_000, max_epochs: 50}}
train:
  model: {{llama: {{width: 32, layers: 1, heads: 2, context: 64}}}}
  seeds: [0, 1]
  stages: [{{causal_lm: {{lr: 3e-3, batch_tokens: 1024}}}}]
compare: {{baseline: raw, margin: 0.01}}
"""
# what differs between two runs of the same thing: times and costs
TIMED = {"manifest.json", "report.html", "result.json"}
COMMAND = [sys.executable, "-m", "windtunnel"]
LONGEST_SECONDS = 600.0


@dataclass
class World:
    """A recipe with a folder for its stores."""

    folder: Path
    recipe: str
    values: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # what an undisturbed run takes
    digests: dict[str, str] = field(default_factory=dict)  # of its files

    def words(self, store: Path) -> list[str]:
        """Return the command that runs the recipe into a store."""
        file = self.folder / f"{store.name}.yaml"
        file.write_text(self.recipe.format(store=store, **self.values), encoding="utf-8")
        return [*COMMAND, "run", str(file)]

    def texts(self) -> list[Path]:
        """Return the texts that the recipe reads, where it reads texts."""
        return sorted((self.folder / "text").glob("*.txt"))

    def start(self, store: Path, log: Path, limit: Callable[[], None] | None = None) -> subprocess.Popen[bytes]:
        """Start the command in a session of its own; what it prints goes to a file.

        `limit` is called in its process before it begins.
        """
        with open(log, "wb") as out:
            return subprocess.Popen(
                self.words(store), stdout=out, stderr=out, start_new_session=True, env=environment(), preexec_fn=limit
            )

    def done(self) -> World:
        """Build the undisturbed store, once."""
        started = time.monotonic()
        log = self.folder / "whole.log"
        assert self.start(self.whole, log).wait(LONGEST_SECONDS) == 0, log.read_text()
        self.seconds = time.monotonic() - started
        self.digests = digests(self.whole)
        return self

    @property
    def whole(self) -> Path:
        return self.folder / "whole"

    def differing(self, store: Path) -> list[str]:
        """Return the files of a store that are not those of the undisturbed one."""
        found = digests(store)
        names = sorted(self.digests.keys() | found.keys())
        return [name for name in names if self.digests.get(name) != found.get(name)]


def environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / ".src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def digests(store: Path) -> dict[str, str]:
    """Return the hash of every file of the artifacts that must not depend on time."""
    return {
        str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(store.glob("[!.]*/**/*"))
        if file.is_file() and file.name not in TIMED and "counts" not in file.parts
    }


def corpus_world(folder: Path) -> World:
    texts = folder / "text"
    texts.mkdir()
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:60]:
        source = file.read_text(encoding="utf-8", errors="replace")[:6000]
        (texts / f"{file.stem}.txt").write_text(source, encoding="utf-8")
        if len(source) % 5 == 0:  # duplicates to find
            (texts / f"{file.stem}_again.txt").write_text(source + "\n# again", encoding="utf-8")
    return World(folder, CORPUS, {"text": str(texts)})


@contextlib.contextmanager
def chat_world(folder: Path) -> Iterator[World]:
    server = ScriptedServer()
    server.script = lambda body, before: fits
    leads = folder / "leads.jsonl"
    leads.write_text("\n".join(map(json.dumps, LEADS)))
    student = write_chat_model(folder / "student")
    yield World(folder, CHAT, {"url": server.url, "leads": str(leads), "student": str(student)})
    server.shutdown()
    server.server_close()
