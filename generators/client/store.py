"""The completion store: one SQLite file with every completion, so that no request is paid for twice.

A second run of a finished recipe reads all its completions from here and sends nothing. Rows are never updated. When
two runs send the same request at once, the first completion is stored and both runs use it.

What a model's server was learnt to refuse is kept beside the completions, so a second run asks in the same form and
finds the same keys.

Each row has a digest of what a run takes from it. A row that no longer fits its digest is removed when it is read, and
its request is sent again.

The file is in WAL mode with `synchronous=NORMAL`: commits survive kill -9; a power cut may lose the last commits but
does not corrupt the file. WAL needs a local disk, not a network file system. Requests do not contain keys of endpoints.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from blake3 import blake3

from windtunnel.generators.client.completion import Completion, TokenLogprob
from windtunnel.generators.client.form import Form
from windtunnel.schemas.errors import InputError

COMPLETIONS = "completions.sqlite"  # in the store of a recipe
LAYOUT = 2
_MEND = "Move it away and run again: its completions are then requested again."
BUSY_SECONDS = 60.0  # wait for another process's commit
READ_BATCH = 500  # SQLite's oldest limit on parameters of one statement is 999

_CREATE = """
CREATE TABLE IF NOT EXISTS completion (
    key BLOB NOT NULL UNIQUE,      -- 32 bytes of blake3 over the whole request
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    error TEXT,                    -- transient failures are not stored
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    created REAL NOT NULL,         -- seconds since 1970
    request BLOB NOT NULL,         -- JSON, so that the file explains itself
    reply BLOB NOT NULL,           -- JSON: text, finish_reason, logprobs, detail
    digest BLOB                    -- 16 bytes of blake3 over the columns of a completion
);
"""
_CREATE_REFUSED = """
CREATE TABLE IF NOT EXISTS refused (
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    fact TEXT NOT NULL,            -- a word of `Form`
    UNIQUE (model, revision, fact)
);
"""
_CREATE_DISCARDED = """
CREATE TABLE IF NOT EXISTS discarded (  -- replies that were paid and asked for again
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL
);
"""
_TOKENS = (
    "SELECT model || '@' || revision, sum(prompt_tokens), sum(completion_tokens), max(rowid) FROM {} "
    "WHERE rowid > ? GROUP BY model, revision"
)
_COLUMNS = "key, model, revision, error, prompt_tokens, completion_tokens, reply"  # of a completion
_READ = f"SELECT {_COLUMNS}, digest FROM completion WHERE key IN ({{}})"
_WRITE = "INSERT OR IGNORE INTO completion VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def paid_tokens(path: Path) -> dict[str, tuple[int, int, int]]:
    """Return (replies, prompt tokens, completion tokens) by `model@revision` of a file, which is only read.

    Empty where there is no such file, or none of this layout.
    """
    paid: dict[str, tuple[int, int, int]] = {}
    if not path.exists():
        return paid
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            for table in ("completion", "discarded"):
                query = _TOKENS.format(table).replace("max(rowid)", "count(*)")
                for name, prompt, answer, number in db.execute(query, (0,)):
                    before = paid.get(name, (0, 0, 0))
                    paid[name] = (before[0] + number, before[1] + prompt, before[2] + answer)
    except sqlite3.DatabaseError:
        return paid
    return paid


class CompletionStore:
    """Completions by key. Usable from several threads and from several processes at once."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.path} is not a usable completion store ({error}). {_MEND}") from error

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        (layout,) = self._db.execute("PRAGMA user_version").fetchone()
        if layout not in (0, 1, LAYOUT):
            raise InputError(f"{self.path} has layout {layout}, this version reads layout {LAYOUT}: use another file")
        self._db.execute("BEGIN IMMEDIATE")  # two processes may open a new file at once
        self._db.execute(_CREATE)
        self._db.execute(_CREATE_REFUSED)
        self._db.execute(_CREATE_DISCARDED)
        if "digest" not in [column[1] for column in self._db.execute("PRAGMA table_info(completion)")]:  # layout 1
            self._db.execute("ALTER TABLE completion ADD COLUMN digest BLOB")
            for row in self._db.execute(f"SELECT {_COLUMNS} FROM completion").fetchall():
                self._db.execute("UPDATE completion SET digest = ? WHERE key = ?", (_digest(row), row[0]))
        self._db.execute(f"PRAGMA user_version={LAYOUT}")
        self._db.execute("COMMIT")

    def read(self, keys: Iterable[str]) -> dict[str, Completion]:
        """Return the stored completions by key, each marked `cached`."""
        completions: dict[str, Completion] = {}
        digests = iter([bytes.fromhex(key) for key in keys])
        while part := list(islice(digests, READ_BATCH)):
            with self._lock:
                rows = self._execute(_READ.format(",".join("?" * len(part))), part)
                for damaged in [row for row in rows if row[-1] != _digest(row[:-1])]:
                    self._execute("DELETE FROM completion WHERE key = ?", (damaged[0],))
                    rows.remove(damaged)
            completions.update((row[0].hex(), _completion(row[:-1])) for row in rows)
        return completions

    def damaged(self) -> int:
        """Return how many completions are not as they were stored; reads all. Raises InputError for a damaged file."""
        with self._lock:
            ((state,), *_) = self._execute("PRAGMA integrity_check", ())
            if state != "ok":
                raise InputError(f"{self.path} is damaged ({state}). {_MEND}")
            rows = self._db.execute(f"SELECT {_COLUMNS}, digest FROM completion")
            return sum(row[-1] != _digest(row[:-1]) for row in rows)

    def _execute(self, query: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.path} is damaged ({error}). {_MEND}") from error

    def write(self, completion: Completion, request: Mapping[str, Any]) -> Completion:
        """Store a completion and return the stored one, which is an earlier one if another run was faster."""
        reply = {
            "text": completion.text,
            "finish_reason": completion.finish_reason,
            "detail": completion.detail,
            "logprobs": completion.logprobs and [[t.token, t.logprob, t.top] for t in completion.logprobs],
        } | ({"reasoning": completion.reasoning} if completion.reasoning else {})
        c = completion
        row = (
            bytes.fromhex(c.key), c.model, c.revision, c.error, c.prompt_tokens, c.completion_tokens, time.time(),
            orjson.dumps(request), orjson.dumps(reply),
        )  # fmt: skip
        digest = _digest((*row[:6], row[8]))
        with self._lock:
            written = self._db.execute(_WRITE, (*row, digest)).rowcount
        if written:
            return completion
        return replace(self.read([completion.key])[completion.key], attempts=completion.attempts)

    def discard(self, model: str, revision: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Count the tokens of a reply that is not stored."""
        with self._lock:
            row = (model, revision, prompt_tokens, completion_tokens)
            self._db.execute("INSERT INTO discarded VALUES (?, ?, ?, ?)", row)

    def add_tokens(self, tokens: dict[str, tuple[int, int]], seen: dict[str, int]) -> None:
        """Add (prompt, completion) tokens by `model@revision` of the rows that came after those in `seen`.

        Empty dictionaries count all replies that this store has paid for; the same ones again, those that came since.
        """
        for table in ("completion", "discarded"):
            with self._lock:
                sums = self._execute(_TOKENS.format(table), (seen.get(table, 0),))
            for name, prompt, completion, last in sums:
                before = tokens.get(name, (0, 0))
                tokens[name] = (before[0] + prompt, before[1] + completion)
                seen[table] = max(seen.get(table, 0), last)

    def form(self, model: str, revision: str) -> Form:
        """Return what the model's server was learnt to refuse."""
        query = "SELECT fact FROM refused WHERE model = ? AND revision = ?"
        with self._lock:
            return Form(frozenset(fact for (fact,) in self._execute(query, (model, revision))))

    def learn(self, model: str, revision: str, form: Form) -> None:
        """Keep what the model's server was learnt to refuse, beside what is kept already."""
        with self._lock:
            for fact in sorted(form.refused):
                self._db.execute("INSERT OR IGNORE INTO refused VALUES (?, ?, ?)", (model, revision, fact))

    def __len__(self) -> int:
        with self._lock:
            return self._db.execute("SELECT count(*) FROM completion").fetchone()[0]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every row as a plain dictionary, in the order of arrival."""
        query = "SELECT key, model, revision, error, prompt_tokens, completion_tokens, created, request, reply"
        last = 0
        while True:
            with self._lock:
                batch = self._db.execute(
                    f"{query}, rowid FROM completion WHERE rowid > ? ORDER BY rowid LIMIT {READ_BATCH}", (last,)
                ).fetchall()
            if not batch:
                return
            last = batch[-1][-1]
            names = ("key", "model", "revision", "error", "prompt_tokens", "completion_tokens", "created")
            for row in batch:
                whole = dict(zip(names, row, strict=False)) | {"key": row[0].hex()}
                yield whole | {"request": orjson.loads(row[7]), "reply": orjson.loads(row[8])}

    def merge(self, other: Path) -> int:
        """Add the completions of another file, where this one has none by their keys; return how many that one has.

        What servers were learnt to refuse is added too.

        Raises InputError when it is not a completion store of this layout.
        """
        CompletionStore(other).close()
        with self._lock:
            self._db.execute("ATTACH ? AS other", (str(other),))
            try:
                self._db.execute("INSERT OR IGNORE INTO completion SELECT * FROM other.completion ORDER BY rowid")
                self._db.execute("INSERT OR IGNORE INTO refused SELECT * FROM other.refused")
                return self._db.execute("SELECT count(*) FROM other.completion").fetchone()[0]
            finally:
                self._db.execute("DETACH other")

    def snapshot(self, target: Path) -> None:
        """Write a copy of the file as it is now, in one piece."""
        with self._lock:
            self._db.execute("VACUUM INTO ?", (str(target),))

    def close(self) -> None:
        """Close the file; the last connection merges the WAL into it."""
        with self._lock:
            self._db.close()


def _digest(row: Sequence[Any]) -> bytes:
    """Return the digest of a completion's columns."""
    content = [value.hex() if isinstance(value, bytes) else value for value in row]
    return blake3(orjson.dumps(content)).digest()[:16]


def _completion(row: tuple[Any, ...]) -> Completion:
    key, model, revision, error, prompt_tokens, completion_tokens, reply = row
    data = orjson.loads(reply)
    logprobs = data["logprobs"]
    return Completion(
        text=data["text"],
        finish_reason=data["finish_reason"],
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        logprobs=None
        if logprobs is None
        else tuple(TokenLogprob(t, p, tuple(map(tuple, top))) for t, p, top in logprobs),
        error=error,
        detail=data["detail"],
        reasoning=data.get("reasoning", ""),
        model=model,
        revision=revision,
        key=key.hex(),
        cached=True,
    )
