"""Questions to a server that are asked once: answers lie in a database in the stage's cache, one transaction each.

A stage that was interrupted reads what it has been told, so it goes on with the same values and pays nothing twice.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from blake3 import blake3

from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import InputError

LOCK_SECONDS = 60.0


class NotKept(str):
    """An answer that is asked for again next time, such as a refusal that a server's settings may lift."""


class Answers:
    """Answers by question, JSON text each; threads and processes may share the file, and the first answer stays."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
            self._file.execute("PRAGMA synchronous=FULL")  # on disk before it is used
            self._file.execute("CREATE TABLE IF NOT EXISTS answers (question TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path} holds the answers so far and cannot be read: {error}. Remove it") from error

    def get(self, question: str) -> str | None:
        """Return the answer, or None."""
        with self._lock:
            row = self._file.execute("SELECT answer FROM answers WHERE question = ?", (question,)).fetchone()
        return row[0] if row else None

    def keep(self, question: str, answer: str) -> str:
        """Return the answer that is kept: this one, or an earlier one."""
        with self._lock:
            self._file.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (question, answer))
        kept = self.get(question)
        assert kept is not None
        return kept


def question_of(content: Mapping[str, Any]) -> str:
    """Return the name of a question's content, 64 hexadecimal digits."""
    return blake3(canonical_json(content).encode()).hexdigest()


def answered(
    answers: Answers,
    questions: Sequence[Mapping[str, Any]],
    ask: Callable[[Mapping[str, Any]], str],
    parallel: int,
    before: Callable[[], None] | None = None,
) -> list[str]:
    """Return the answers in the order of the questions; equal questions are asked once.

    `before` is called where there is something to ask.
    Where `ask` raises, nothing more is sent, what is on its way is kept, and the first error goes on.
    """
    names = [question_of(question) for question in questions]
    found = {name: known for name in names if (known := answers.get(name)) is not None}
    missing = {name: question for name, question in zip(names, questions, strict=True) if name not in found}
    if missing and before is not None:
        before()

    def once(name: str, question: Mapping[str, Any]) -> str:
        answer = ask(question)
        return answer if isinstance(answer, NotKept) else answers.keep(name, answer)

    with ThreadPoolExecutor(parallel) as pool:
        waiting = {pool.submit(once, *one): one[0] for one in missing.items()}
        try:
            for done in as_completed(waiting):
                found[waiting[done]] = done.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [found[name] for name in names]
