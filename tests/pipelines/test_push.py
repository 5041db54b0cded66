"""A trained model leaves the store: its card, a GGUF file, and an upload to a stand-in of the Hub."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command_line import windtunnel
from tests.conftest import invented_text, new_chat_tokenizer
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.hub.export import export_model
from windtunnel.pipelines.hub.push import PushError, push_model
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.views.cards import write_cards
from windtunnel.schemas.errors import InputError, RecipeError

TOKEN = "hf_secretsecretsecret"
RECIPE = """\
question: Do <b>notes</b> | help?
store: {root}/store
corpora:
  all: {{source: {{jsonl: {root}/all.jsonl}}}}
  clean: {{from: all, rules: [{{length: {{min_words: 3}}}}]}}
held_out: {{from: all, share: 0.2}}
mixes:
  all: {{all: 1}}
  both: {{all: 1, clean: 3}}
tokens: {{tokenizer: {{path: {root}/words}}, budget: 16_384, max_epochs: 40}}
train:
  model: {{llama: {{width: 16, layers: 1, heads: 2, context: 32}}}}
  seeds: [3, 4]
  stages: [{{causal_lm: {{lr: 1e-2, batch_tokens: 2048}}}}]
compare: {{baseline: all}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("push")
    rows = [{"text": invented_text(k, 30 + 5 * k)} for k in range(40)]
    (root / "all.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    new_chat_tokenizer().save_pretrained(str(root / "words"))
    file = root / "recipe.yaml"
    file.write_text(RECIPE.format(root=root))
    made = planned(str(file), [])
    wanted = [step for step in made.steps if step.kind == "compare" or step.name in ("train:both:3", "train:all:4")]
    run(wanted, root / "store", Where("inline"))
    return file


def card_of(recipe: Path, name: str) -> str:
    write_cards(str(recipe), [])
    step = planned(str(recipe), []).find(name)
    assert step is not None
    return (step.artifact(recipe.parent / "store").path / "README.md").read_text(encoding="utf-8")


def test_the_card_of_a_model_tells_its_lineage_and_nothing_of_this_machine(recipe) -> None:
    text = card_of(recipe, "train:both:3")
    matter = yaml.safe_load(text.split("---\n")[1])
    assert matter["library_name"] == "transformers" and matter["pipeline_tag"] == "text-generation"
    assert matter["license"] == "other" and "AutoModelForCausalLM" in text
    assert str(recipe.parent) not in text and "/tmp" not in text
    assert text == card_of(recipe, "train:both:3")  # equal bytes
    data, scores = text.split("## Held-out score")
    rows = [line.split(" | ") for line in data.splitlines() if line.startswith(("| all | ", "| clean | "))]
    assert {row[0] for row in rows} == {"| all", "| clean"}
    tokens = sum(int(row[-3].replace(",", "")) for row in rows)
    assert f"trained on {tokens:,} tokens" in text and tokens == 16_384
    assert sum(float(row[-2].removesuffix(" %")) for row in rows) == pytest.approx(100, abs=0.1)
    assert "min_words: 3" in text and "causal_lm" in text and "max_epochs" not in matter
    assert (
        "Do &lt;b\\>notes&lt;/b\\> \\| help?" in text
        and "Tokenizer: that of the directory words" in text
        and "320 tokens" in text
    )
    assert "Bits per byte of the held-out texts" in text and "| all | " in scores
    assert "over 2 seeds" in text and "verdict" in text and "torch" in text


VARIANTS = [
    "mixes={both: {all: 1, clean: 3}}",
    "compare={baseline: elmo}",
    "train.seeds=[3]",
    "train.variants={elmo: {model: {elmo: {width: 16, cell: 24, context: 32}}, stages: [bidirectional_lm]}, "
    "words: {model: {static: {width: 8, fewest: 2, buckets: 100}}, stages: [skipgram]}}",
]


def test_cards_of_variants_say_what_loads_them(recipe, tmp_path) -> None:
    made = planned(str(recipe), VARIANTS)
    run(made.of_kind("train"), recipe.parent / "store", Where("inline"))
    write_cards(str(recipe), VARIANTS, tmp_path)
    elmo, words = ((tmp_path / f"{name}-seed3.md").read_text() for name in ("elmo", "words"))
    for text in (elmo, words):
        assert yaml.safe_load(text.split("---\n")[1])["library_name"] == "windtunnel"
        assert "transformers has no class" in text and "mix: {all: 1.0, clean: 3.0}" in text
    assert "load(PATH)" in elmo and "Bits per byte" in elmo
    assert "StaticVectors.load(PATH)" in words and "says nothing of how likely" in words
    with pytest.raises(InputError, match="Elmo is not converted"):
        export_model(str(recipe), VARIANTS, "elmo", None, "gguf", tmp_path / "x.gguf", "own")


def test_the_command_line_exports_a_model(recipe, tmp_path) -> None:
    done = windtunnel("export", str(recipe), "all", "--seed", "4", "--to", "gguf", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "all-seed4.gguf" and (tmp_path / "all-seed4.gguf").stat().st_size > 30_000
    wrong = windtunnel("push", str(recipe), "bth", "me/it", folder=tmp_path)
    assert wrong.returncode == 2 and "no model is called 'bth'" in wrong.stderr


def test_a_model_is_exported_to_gguf(recipe, tmp_path) -> None:
    import gguf

    out = tmp_path / "both.gguf"
    assert export_model(str(recipe), [], "both", None, "gguf", out, "own") == out
    fields = gguf.GGUFReader(out).fields
    assert fields["general.name"].contents() == "both, seed 3" and fields["llama.vocab_size"].contents() == 320
    with pytest.raises(InputError, match="exists"):
        export_model(str(recipe), [], "both", None, "gguf", out, "own")
    for to, tokenizer in (("onnx", "own"), ("gguf", "some")):
        with pytest.raises(RecipeError, match=r"gguf|own or ids"):
            export_model(str(recipe), [], "both", None, to, tmp_path / "x", tokenizer)


@pytest.mark.parametrize(
    ("name", "seed", "error", "said"),
    [
        ("bth", None, RecipeError, "did you mean 'both'|both"),
        ("both", 9, RecipeError, "its seeds are 3, 4"),
        ("train:both:3", 4, RecipeError, "no model of seed"),
        ("corpus:all", None, RecipeError, "no model is called"),
    ],
)
def test_what_is_no_model_is_refused_by_name(name, seed, error, said, recipe) -> None:
    with pytest.raises(error, match=said):
        push_model(str(recipe), [], name, "me/it", seed, False, None)


class Hub(BaseHTTPRequestHandler):
    """Speaks as much of the Hub's interface as an upload needs; `state` holds one repository."""

    state: dict[str, Any]

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, content: Any, code: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def refused(self) -> bool:
        state = self.state
        state["requests"].append((self.command, self.path))
        code = next((code for part, code in state["failing"].items() if part in self.path), None)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not self.path.startswith("/storage"):
            code = 401
        if code is not None:
            self.body()
            self.answer({"error": f"refused, {TOKEN}"}, code)
        return code is not None

    def do_GET(self) -> None:
        if self.refused():
            return
        state = self.state
        siblings = [{"rfilename": name} for name in state["files"]]
        self.answer({"id": "me/it", "sha": f"{state['commits']:040d}", "siblings": siblings, "private": True})

    def do_PUT(self) -> None:
        if not self.refused():
            self.state["stored"][self.path.rpartition("/")[2]] = self.body()
            self.answer({})

    def do_POST(self) -> None:
        if self.refused():
            return
        state, body = self.state, self.body()
        if self.path == "/api/repos/create":
            state["asked"] = json.loads(body)
            exists = state["made"]
            state["made"] = True
            url = f"http://127.0.0.1:{self.server.server_address[1]}/me/it"
            self.answer({"url": url, "id": "me/it", "name": "me/it"}, 409 if exists else 200)
        elif "/preupload/" in self.path:
            found = []
            for file in json.loads(body)["files"]:
                held = state["files"].get(file["path"])
                large = file["path"].endswith(".safetensors")
                known = {"oid": None if held is None else held[1]}
                mode = {"uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
                found.append({"path": file["path"], **mode, **known})
            self.answer({"files": found})
        elif self.path.endswith("/info/lfs/objects/batch"):
            port = self.server.server_address[1]
            objects = []
            for one in json.loads(body)["objects"]:
                href = f"http://127.0.0.1:{port}/storage/{one['oid']}"
                actions = {} if one["oid"] in state["stored"] else {"actions": {"upload": {"href": href}}}
                objects.append({**one, **actions})
            self.answer({"objects": objects, "transfer": "basic"})
        elif "/commit/" in self.path:
            self.commit([json.loads(line) for line in body.splitlines()])
        else:  # validation of the card's front matter
            self.answer({"errors": [], "warnings": []})

    def commit(self, lines: list[dict[str, Any]]) -> None:
        state = self.state
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                content = base64.b64decode(value["content"])
                state["files"][value["path"]] = (content, _git_hash(content))
            elif line["key"] == "lfsFile":
                state["files"][value["path"]] = (state["stored"][value["oid"]], value["oid"])
            elif line["key"] == "deletedFile":
                del state["files"][value["path"]]
        state["commits"] += 1
        sha = f"{state['commits']:040d}"
        url = f"http://127.0.0.1:{self.server.server_address[1]}/me/it/commit/{sha}"
        self.answer({"commitUrl": url, "commitOid": sha, "success": True})


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(monkeypatch) -> Iterator[dict[str, Any]]:
    """A stand-in of the Hub that huggingface_hub talks to; the state of its repository."""
    from huggingface_hub import constants

    state: dict[str, Any] = {
        "files": {}, "stored": {}, "commits": 0, "made": False, "failing": {}, "requests": [], "asked": {},
    }  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), {"state": state}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield state
    server.shutdown()
    server.server_close()


def push(recipe: Path, **more: Any) -> Any:
    given = {"name": "both", "seed": None, "public": False, "branch": None, **more}
    return push_model(str(recipe), [], given["name"], "me/it", given["seed"], given["public"], given["branch"])


def test_a_push_brings_the_model_and_its_card_and_a_second_changes_nothing(recipe, hub, tmp_path) -> None:
    done = push(recipe)
    assert done.changed and done.step == "train:both:3" and done.files == len(hub["files"])
    assert hub["asked"]["visibility"] == "private" and hub["commits"] == 1
    for name, (content, _) in hub["files"].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(str(tmp_path))
    assert model.config.hidden_size == 16 and len(AutoTokenizer.from_pretrained(str(tmp_path))) == 320
    assert hub["files"]["README.md"][0].decode() == card_of(recipe, "train:both:3")
    again = push(recipe)
    assert not again.changed and hub["commits"] == 1 and again.url == done.url
    sent = [path for command, path in hub["requests"] if command == "PUT"]
    assert len(sent) == 1  # the weights, once


def test_another_model_takes_its_place_and_leaves_no_part_of_the_old_one(recipe, hub) -> None:
    push(recipe)
    notes = (b"kept", _git_hash(b"kept"))
    hub["files"] |= {"delta/delta.json": notes, "model-00002-of-2.safetensors": notes, "notes.txt": notes}
    assert push(recipe, name="all", seed=4).changed
    assert "notes.txt" in hub["files"]
    assert not [name for name in hub["files"] if name.startswith(("delta", "model-0"))]


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ({"/commit/": 403}, "may not write there"),
        ({"/preupload/": 404}, "no such repository"),
        ({"/storage/": 403}, "may not write there"),
        ({"/api/": 401}, "hf auth login"),
        ({"/commit/": 412}, "meanwhile: push again"),
    ],
)
def test_a_failing_hub_is_told_with_the_mend_and_without_the_token(failing, said, recipe, hub, caplog, capfd) -> None:
    hub["failing"] = failing
    with pytest.raises(PushError) as raised:
        push(recipe)
    assert said in str(raised.value)
    assert hub["commits"] == 0 and not hub["files"]
    out, err = capfd.readouterr()
    assert TOKEN not in str(raised.value) + out + err + caplog.text
    hub["failing"] = {}
    assert push(recipe).changed


def test_without_a_hub_or_a_login_the_error_says_so(recipe, hub, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(PushError, match="HF_TOKEN"):
        push(recipe)
    with pytest.raises(RecipeError, match="no repository can be called"):
        push_model(str(recipe), [], "both", "a/b/c d", None, False, None)
