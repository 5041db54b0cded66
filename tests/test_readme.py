"""What the README tells people to type works as it stands, on small files."""

from __future__ import annotations

import json
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import windtunnel
from tests.pipelines.conftest import write_byte_tokenizer

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# commands that need a server, a cluster or the whole quickstart: their words are checked against the command line's
WORDS_ONLY = ("run ", "why ", "show runs/", "report", "serve", "card", "export", "push")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", "").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("windtunnel ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the README's commands name."""
    place = tmp_path_factory.mktemp("readme")
    draw = random.Random(7)
    words = [
        "the",
        "of",
        "and",
        "to",
        "a",
        "in",
        "was",
        "with",
        "river",
        "winter",
        "engine",
        "garden",
        "stone",
        "light",
    ]
    texts = [" ".join(draw.choices(words, k=draw.choice([8, 90]))) + "." for _ in range(60)]
    rows = [json.dumps({"text": text, "title": str(k)}) for k, text in enumerate([*texts, texts[-1], texts[-1]])]
    for name in ("my_corpus/part.jsonl", "new_crawl/a.jsonl", "data/old/a.jsonl", "data/new/a.jsonl"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    lines = ["mix,seed,document,bytes,nats"]
    for seed in range(3):
        for mix, shift in (("old", 0.0), ("new", -3.0)):
            lines += [f"{mix},{seed},d{d},100,{70 + d % 7 + shift + draw.random() / 5}" for d in range(20)]
    (place / "scores.csv").write_text("\n".join(lines), encoding="utf-8")
    names, lines, mixes = ("weight_web", "weight_code", "weight_books"), [], []
    for k in range(24):
        shares = [draw.random() for _ in names]
        (mixes if k > 20 else lines).append(",".join(f"{share / sum(shares):.4f}" for share in shares))
    header = ",".join(names)
    runs = [f"{line},{2 + draw.random() * 0.01 + float(line.split(',')[0])}" for line in lines]
    (place / "runs.csv").write_text("\n".join([f"{header},loss", *runs]), encoding="utf-8")
    (place / "mixes.csv").write_text("\n".join([header, *mixes]), encoding="utf-8")
    _write_rows(place)
    pair = {"prompt": "Name a river.", "response_a": "The Nile.", "response_b": "No.", "labels": ["a", "a", "b"]}
    (place / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for _ in range(5)), encoding="utf-8")
    return place


def _write_rows(place: Path) -> None:
    """Write the files of the section on rows, a model without layers, and logs of lm-eval."""
    chats = [[f"What is river number {n}?", f"It is a river of the north, of {n} miles."] for n in range(30)]
    rows = {
        "my_chats.jsonl": [{"messages": _turns(*chat)} for chat in chats],
        "data/ours.jsonl": [{"instruction": q, "input": "", "output": a} for q, a in chats],
        "data/questions.jsonl": [{"messages": _turns("What is a sea?", "It is large.")}],
        "data/pairs.jsonl": [{"prompt": q, "chosen": a, "rejected": "No."} for q, a in chats],
        "data/choices.jsonl": [{"question": q, "choices": [a, "No."], "answer": 0} for q, a in chats],
        "data/answers.jsonl": [{"question": q, "answer": a} for q, a in chats],
    }
    for name, records in rows.items():
        (place / name).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    _write_model(place / "models" / "student")
    (place / "my_model").symlink_to(place / "models" / "student")
    for mix, seed in ((mix, seed) for mix in ("base", "new") for seed in range(3)):
        logs = place / "logs" / f"{mix}-seed{seed}" / "model"
        logs.mkdir(parents=True)
        (logs / "results_2026-01-01T00-00-00.json").write_text("{}")
        samples = [
            {"doc_id": n, "doc": {}, "target": "", "filter": "none", "metrics": ["acc"], "acc": (n + seed) % 2}
            for n in range(8)
        ]
        text = "".join(json.dumps(sample) + "\n" for sample in samples)
        (logs / "samples_mine_2026-01-01T00-00-00.jsonl").write_text(text)


def _turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]


def _write_model(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    end = write_byte_tokenizer(folder)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=264, eos_token_id=end, bos_token_id=end, max_position_embeddings=512, **sizes)
    LlamaForCausalLM(config).save_pretrained(str(folder))


def test_every_command_of_the_readme_works(folder: Path) -> None:
    tried = 0
    for words in commands():
        line = " ".join(words[1:])
        if line.startswith(WORDS_ONLY):
            known = windtunnel(words[1], "--help", folder=folder)
            assert known.returncode == 0, line
            for option in (w for w in words if w.startswith("--")):
                assert option in known.stdout, f"{line}: no option {option}"
            continue
        done = windtunnel(*words[1:], folder=folder)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        tried += 1
    assert tried >= 5


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make (\w+)", "\n".join(blocks("sh")), flags=re.MULTILINE)
    assert {"quickstart", "test", "vllm"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_recipe_of_the_readme_is_one(folder: Path) -> None:
    text, _ = blocks("yaml")
    for found, there in (("{parquet: data/old/*.parquet}", "{jsonl: data/old/*.jsonl}"),
                         ("data/new/*.jsonl.zst, text: content", "data/new/*.jsonl, text: text"),
                         ("{parquet: data/evaluation.parquet}", "{jsonl: data/new/a.jsonl}")):  # fmt: skip
        assert found in text
        text = text.replace(found, there)
    (folder / "r.yaml").write_text(text, encoding="utf-8")
    done = windtunnel("plan", "r.yaml", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    steps = {row["step"] for row in json.loads(done.stdout)}
    assert {"tokens:old", "mix:both", "train:both:4", "compare", "report"} <= steps


def test_the_recipe_of_rows_of_the_readme_is_one(folder: Path) -> None:
    _, text = blocks("yaml")
    assert len(text.strip().splitlines()) <= 12
    (folder / "rows.yaml").write_text(text.replace("parquet: data/theirs.parquet", "jsonl: my_chats.jsonl"))
    done = windtunnel("plan", "rows.yaml", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    steps = {row["step"] for row in json.loads(done.stdout)}
    assert {
        "clean:ours",
        "select:theirs",
        "held_out:pairs",
        "questions:tasks",
        "train:theirs:2",
        "compare:tasks",
    } <= steps


def test_the_ci_script_calls_the_readmes_test_command() -> None:
    assert "\nmake test " in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test " in README


def test_the_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG"), picture


@pytest.mark.network
def test_the_notebook_of_the_readme_gives_its_verdict(folder: Path) -> None:
    section = README.partition("\n## In Python\n")[2].partition("\n## ")[0]
    code, said = re.search(r"```python\n(.*?)```\s+```\n(.*?)```", section, flags=re.DOTALL).groups()  # type: ignore[union-attr]
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    numbers = r"[-+]\d\.\d{3}"
    assert re.fullmatch(rf"filtered is \w+: {numbers} \[{numbers}, {numbers}\] bits per byte\n", done.stdout)
    assert done.stdout.partition(":")[0] == said.partition(":")[0]
