"""The completion store: what goes in comes out, several writers at once, kill -9, files that are no store."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windtunnel.generators.client.completion import Completion, Request, TokenLogprob, key_of, question
from windtunnel.generators.client.store import CompletionStore
from windtunnel.schemas.errors import InputError


def entry(i: int, text: str = "t", **params) -> tuple[Completion, dict]:
    request = Request(prompt=f"p{i}", **params)
    key = key_of(request, "m", "r")
    return Completion(text=text, model="m", revision="r", key=key), question(request, "m", "r")


NATS = st.floats(-9999, 0)
TOKENS = st.lists(st.tuples(st.text(), NATS, st.lists(st.tuples(st.text(), NATS))), min_size=1)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(), tokens=st.none() | TOKENS, error=st.sampled_from([None, "empty_reply"]))
def test_what_goes_in_comes_out(tmp_path, text, tokens, error):
    text = text.encode("utf-8", "replace").decode()
    logprobs = tokens and tuple(TokenLogprob(t, p, tuple(top)) for t, p, top in tokens)
    request = Request(prompt="x" + text)
    key = key_of(request, "m", "r")
    completion = Completion(text, "stop", 3, 4, logprobs, error, "why", "m", "r", key)
    path = tmp_path / "s.db"
    path.unlink(missing_ok=True)
    store = CompletionStore(path)
    store.write(completion, question(request, "m", "r"))
    assert store.read([key, "00" * 32]) == {key: replace(completion, cached=True)}
    (row,) = store.rows()
    assert (row["request"]["prompt"], row["reply"]["text"]) == (request.prompt, text)
    store.close()


def test_the_first_answer_stays_and_the_second_run_goes_on_with_it(tmp_path):
    one, two = CompletionStore(tmp_path / "s.db"), CompletionStore(tmp_path / "s.db")
    first, asked = entry(0, "first")
    assert one.write(first, asked) is first
    kept = two.write(replace(first, text="second", attempts=2), asked)
    assert (kept.text, kept.cached, kept.attempts) == ("first", True, 2)
    assert len(one) == len(two) == 1


def test_many_keys_are_read_in_batches(tmp_path):
    store = CompletionStore(tmp_path / "s.db")
    made = [entry(i) for i in range(1200)]
    for completion, asked in made:
        store.write(completion, asked)
    assert len(store.read(c.key for c, _ in made)) == len(list(store.rows())) == 1200


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from windtunnel.generators.client.completion import Completion, Request, key_of, question
from windtunnel.generators.client.store import CompletionStore
store = CompletionStore(Path(sys.argv[1]))
who = sys.argv[2]
for i in range(100_000 if who == "endless" else 300):
    request = Request(prompt=f"p{i}")
    found = Completion(text=who, model="m", revision="r", key=key_of(request, "m", "r"))
    print(store.write(found, question(request, "m", "r")).text, flush=True)
"""


def writer(path: Path, who: str) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(path), who, str(Path(__file__).parents[2] / ".src")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)


def test_three_processes_write_at_once_and_agree(tmp_path):
    writers = [writer(tmp_path / "s.db", str(i)) for i in range(3)]  # they also create the file at once
    said = [w.communicate()[0].split() for w in writers]
    assert [w.returncode for w in writers] == [0, 0, 0]
    assert len(said[0]) == 300
    assert said[0] == said[1] == said[2]


def test_kill_9_keeps_every_answer_that_was_acknowledged(tmp_path):
    run = writer(tmp_path / "s.db", "endless")
    assert run.stdout
    heard = [run.stdout.readline() for _ in range(200)]
    time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    heard += run.stdout.readlines()
    run.wait()
    store = CompletionStore(tmp_path / "s.db")
    complete = sum(line.endswith("\n") for line in heard)
    assert len(store) >= complete >= 200
    assert len(store.read(entry(i)[0].key for i in range(complete))) == complete


def test_a_file_that_is_no_store_is_named_and_left_alone(tmp_path):
    path = tmp_path / "s.db"
    path.write_bytes(b"<html>not a database</html>" * 200)
    with pytest.raises(InputError, match=r"s\.db is not a usable completion store"):
        CompletionStore(path)
    assert path.read_bytes().startswith(b"<html>")
    db = sqlite3.connect(tmp_path / "new.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(InputError, match="layout 99"):
        CompletionStore(tmp_path / "new.db")


def test_a_damaged_row_is_requested_again(tmp_path):
    path, (whole, asked), (hit, again) = tmp_path / "s.db", entry(0, "whole"), entry(1, "a reply that will be hit")
    store = CompletionStore(path)
    store.write(whole, asked)
    store.write(hit, again)
    store.close()
    data = path.read_bytes()
    assert data.count(b"will be hit") == 1
    path.write_bytes(data.replace(b"will be hit", b"will be hid"))
    store = CompletionStore(path)
    assert store.damaged() == 1
    assert set(store.read([whole.key, hit.key])) == {whole.key}
    assert (len(store), store.damaged()) == (1, 0)
    assert store.write(hit, again) is hit


def test_a_file_without_digests_gets_them(tmp_path):
    path, (completion, _) = tmp_path / "s.db", entry(0)
    db = sqlite3.connect(path)
    db.execute(
        """CREATE TABLE completion (
        key BLOB NOT NULL UNIQUE, model TEXT NOT NULL, revision TEXT NOT NULL, error TEXT,
        prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, created REAL NOT NULL,
        request BLOB NOT NULL,
        reply BLOB NOT NULL            -- JSON
        );"""
    )
    reply = b'{"text":"t","finish_reason":"stop","logprobs":null,"detail":null}'
    row = (bytes.fromhex(completion.key), "m", "r", None, 1, 2, 0.0, b"{}", reply)
    db.execute("INSERT INTO completion VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    db.execute("PRAGMA user_version=1")
    db.commit()
    db.close()
    store = CompletionStore(path)
    assert (store.damaged(), set(store.read([completion.key]))) == (0, {completion.key})
    store.close()
    assert CompletionStore(path).damaged() == 0
