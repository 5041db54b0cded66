"""No secret reaches a store: neither one that was written into an address, nor a key, whatever the server says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.generators.client.address import without_secrets
from windtunnel.generators.client.client import Client, Endpoint, Request
from windtunnel.generators.judges._judge import make_judge
from windtunnel.generators.serving.served import Served
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.recipe.file import parse
from windtunnel.schemas.errors import RecipeError

SECRET = "S3CRETWORD"
IN_ADDRESSES = [
    f"http://u:{SECRET}@127.0.0.1:9/v1",
    f"http://{SECRET}@127.0.0.1:9/v1",
    f"http://127.0.0.1:9/v1?token={SECRET}",
    f"http://127.0.0.1:9/v1#{SECRET}",
    f"http://u:{SECRET}/x@127.0.0.1:9/v1",  # a slash in the password: no valid port
]


def recipe(folder: Path, url: str, more: str = "") -> str:
    (folder / "texts.jsonl").write_text('{"text": "Fog is a cloud that touches the ground."}\n')
    return (
        f"question: Who tells?\nstore: {folder / 'store'}\n"
        f"corpora:\n  raw: {{source: {{jsonl: {folder / 'texts.jsonl'}}}}}\n"
        f"models:\n  m: {{url: '{url}', model: m{more}}}\n"
        "generate:\n  rows:\n    with: {self_instruct: {model: m, rows: 2, lag: 1, requests_at_most: 2}}\n"
    )


def holds_secret(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]


@pytest.mark.parametrize("url", IN_ADDRESSES)
def test_an_address_with_a_secret_is_refused_and_never_quoted(url: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"line 6: models\.m\.url: ") as caught:
        parse(recipe(tmp_path, url), [], origin="r.yaml")
    assert SECRET not in str(caught.value) and caught.value.exit_code == 2
    with pytest.raises(RecipeError) as judged:
        make_judge(f"openai:m@{url}")
    assert SECRET not in str(judged.value)
    with pytest.raises(ValueError) as served:  # pydantic's error is one
        Served(url=url, model="m")
    assert SECRET not in str(served.value)


def test_the_refusal_names_the_way_out_and_plain_addresses_pass() -> None:
    with pytest.raises(ValueError, match="`key:`"):
        without_secrets(IN_ADDRESSES[0])
    for url in ("http://127.0.0.1:8000/v1", "https://api.example.org/v1/", "http://[::1]:8000/v1"):
        assert without_secrets(url) == url
    with pytest.raises(ValueError, match="no address"):
        without_secrets("127.0.0.1:8000/v1")


def test_a_run_with_a_secret_in_its_address_leaves_it_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "recipe" / "r.yaml"
    file.parent.mkdir()
    file.write_text(recipe(tmp_path, IN_ADDRESSES[0]))
    words = [sys.executable, "-c", "from windtunnel.pipelines.cli import main; main()", "run", str(file)]
    found = subprocess.run(words, capture_output=True, cwd=tmp_path, env=os.environ, text=True)
    assert found.returncode == 2 and SECRET not in found.stdout + found.stderr
    assert not holds_secret(tmp_path / "store")


def test_a_whole_store_holds_no_key_even_if_the_server_repeats_it(scripted, play, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MY_ENTRANCE", SECRET)
    chat = f"9. Name a town by the sea for {SECRET}.\n10. Name a lake in the north for {SECRET}."
    scripted.script = lambda body, _before: play.says(
        chat if "Example 1" not in (text := body["messages"][-1]["content"]) and "Classification" not in text else "No"
    )
    made = plan(parse(recipe(tmp_path, scripted.url, ", key: MY_ENTRANCE"), []))
    store = tmp_path / "store"
    run(made.targets, store)
    assert scripted.headers[0]["authorization"] == f"Bearer {SECRET}"
    assert (store / "completions.sqlite").exists() and list(store.rglob("report.html"))
    assert not holds_secret(store)


def test_the_name_of_a_local_server_as_a_key_is_left_in_replies(scripted, play, monkeypatch) -> None:
    """Servers that want no key are given a word for one, and answers hold that word."""
    monkeypatch.setenv("MY_ENTRANCE", "ollama")
    scripted.script = lambda body, before: play.says("An ollama is no animal.")
    with Client(Endpoint(scripted.url, "m", key_variable="MY_ENTRANCE")) as client:
        (found,) = client.complete([Request(messages=({"role": "user", "content": "What is an ollama?"},))])
    assert found.text == "An ollama is no animal."


@pytest.mark.parametrize("words", [["--api-key", SECRET], [f"--api_key={SECRET}"], ["--hf-token", SECRET]])
def test_a_secret_among_the_arguments_of_a_server_is_refused(words: list[str], tmp_path: Path) -> None:
    text = recipe(tmp_path, "http://127.0.0.1:9/v1") + "  # further\n# end\n"
    with pytest.raises(RecipeError, match="would write a secret into results") as caught:
        parse(text, [f"models.m={{sample: smollm2, serve: {{arguments: {words}}}}}"])
    assert SECRET not in str(caught.value)
