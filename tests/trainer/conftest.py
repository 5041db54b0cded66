"""Conversations and preferences small enough to build in every test; tokenizers and a model: tests/conftest.py."""

from __future__ import annotations

import pytest

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


@pytest.fixture
def as_artifact():
    """A function that makes a finished artifact of whatever files a directory holds."""
    return _artifact


def _artifact(path, step: str = "test"):
    from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest

    manifest = Manifest(step=step, version=1, key=path.name.ljust(32, "0"), config={})
    manifest.write(path / MANIFEST)
    return Artifact(path)


@pytest.fixture
def chat_inputs(chat_tokenizer, tmp_path):
    """Artifacts by role: conversations that count up, preferences for the right number, a held-out half of each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from windtunnel.schemas.records import CONVERSATION, PREFERENCE

    def question(k: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"After {NUMBERS[k % 8]}{' please' * (k % 3)}?"}]

    def answer(k: int, before: str = "") -> list[dict[str, str]]:
        return [{"role": "assistant", "content": f"{before}{NUMBERS[k % 8]}."}]

    def write(role, records, schema):
        (tmp_path / role / "rows").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(records, schema), tmp_path / role / "rows" / "00000.parquet")
        return _artifact(tmp_path / role)

    def source(k: int) -> str:
        return ("even", "odd")[k % 2]

    talks = [
        {"id": f"c{k}", "messages": question(k) + answer(k + 1) + question(k + 3) + answer(k + 4), "source": source(k)}
        for k in range(48)
    ]
    pairs = [
        {"id": f"p{k}", "prompt": question(k), "chosen": answer(k + 1), "rejected": answer(k + 2, "not "),
         "rating_chosen": 5.0, "rating_rejected": float(k % 4 + 1), "source": source(k)}
        for k in range(48)
    ]  # fmt: skip
    (tmp_path / "tokenizer").mkdir()
    chat_tokenizer.save_pretrained(str(tmp_path / "tokenizer" / "tokenizer"))
    return {
        "conversations": write("conversations", talks[:32], CONVERSATION),
        "held_out_conversations": write("held_out_conversations", talks[32:], CONVERSATION),
        "preferences": write("preferences", pairs[:32], PREFERENCE),
        "held_out_preferences": write("held_out_preferences", pairs[32:], PREFERENCE),
        "tokenizer": _artifact(tmp_path / "tokenizer"),
    }
