"""The three first kinds on a real small chat model that vLLM serves: rows come out, books add up, replays send nothing.

WINDTUNNEL_TEST_URL (and WINDTUNNEL_TEST_MODEL, its name there) point to a server; else one is started for the model
directory WINDTUNNEL_TEST_DIRECTORY, or for the sample model when it has been fetched.
"""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.generators.client.client import Client
from windtunnel.generators.core.generate import Generate
from windtunnel.generators.serving.served import Served, opened
from windtunnel.pipelines.samples.models import directory
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import CONVERSATION, DOCUMENT

URL, NAME, DIRECTORY = (os.environ.get(f"WINDTUNNEL_TEST_{word}") for word in ("URL", "MODEL", "DIRECTORY"))
if not DIRECTORY and (sample := directory("smollm2")).is_dir():
    DIRECTORY = str(sample)
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (URL and NAME) and not DIRECTORY, reason="no server and no model directory is given"),
]
SHORT = {"world": [1, 2], "creation": [1, 2], "material": [1, 2]}
POOL = [{"model": "m", "name": name, "temperature": t} for name, t in (("cool", 0.3), ("warm", 0.8), ("hot", 1.2))]
KINDS = {
    "self_instruct": {"model": "m", "rows": 4, "requests_at_most": 8, "max_tokens": 160, "example_tokens": 64},
    "ultrachat": {"model": "m", "rows": 2, "rounds": SHORT, "max_tokens": 96, "material_characters": 400},
    "ultrafeedback": {
        "pool": POOL,
        "judges": ["m"],
        "max_tokens": 64,
        "rationale_characters": 60,
        "feedback_characters": 120,
    },
}


@pytest.fixture(scope="module")
def served():
    if URL:
        return Served(url=URL, model=NAME or "", dialect="vllm")
    return Served(serve=DIRECTORY, context=2048, kv_cache_gib=2, arguments=("--enforce-eager",))  # no compiling


@pytest.fixture(scope="module")
def endpoints(served):
    with opened({"m": served}, {}) as found:  # one server for all
        yield found


def inputs(name, tmp_path):
    rows, schema, role, folder = [], DOCUMENT, "documents", "kept"
    if name == "ultrafeedback":
        schema, role, folder = CONVERSATION, "prompts", "rows"
        for i, text in enumerate(
            ("Name three rivers of Asia.", "Why is the sky blue?", "Write a poem about a kettle.")
        ):
            rows.append({"id": str(i), "messages": [{"role": "user", "content": text}], "source": "x", "lineage": None})
    else:
        text = (
            "A kettle is a vessel for boiling water. It has a lid, a spout and a handle. Some whistle when they boil. "
            * 3
        )
        rows = [{"id": "d", "text": text, "source": "x", "url": None, "lang": "en", "meta": '{"licence": "CC0"}'}]
    if name == "self_instruct":
        return {}
    (tmp_path / "in" / folder).mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "in" / folder / "00000.parquet")
    return {role: Artifact(tmp_path / "in")}


@pytest.mark.parametrize("name", KINDS)
def test_a_real_model_gives_rows_and_a_replay_gives_the_same_bytes_and_sends_nothing(name, served, endpoints, tmp_path):
    work = Generate(kind={name: KINDS[name]}, models={"m": served}, concurrency=16)
    given = inputs(name, tmp_path)
    with Client(endpoints, tmp_path / "store.sqlite", 16) as client:
        counts = work.make(given, tmp_path / "one", 0, client)
        assert client.usage.sent > 0
    with Client(endpoints, tmp_path / "store.sqlite", 4) as client:
        again = work.make(given, tmp_path / "two", 0, client)
        assert client.usage.sent == 0
    assert counts == again and counts.seen > 0
    for folder in ("rows", "dropped", "journal"):
        first, second = (sorted((tmp_path / out / folder).iterdir()) for out in ("one", "two"))
        assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    rows = pq.read_table(tmp_path / "one/rows/00000.parquet").to_pylist()
    assert len(rows) == counts.kept
    assert all(json.loads(row["lineage"])["models"] for row in rows)
    if name != "ultrafeedback":  # a model of this size may well find no pair apart by the margin
        assert rows and all(m["content"].strip() for row in rows for m in row["messages"])
