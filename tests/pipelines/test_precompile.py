"""What the installation compiles is what a run needs: afterwards a run compiles nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.pipelines.precompile import RECIPE, texts

CLI = [sys.executable, "-c", "from windtunnel.pipelines.cli import main; main()"]


def command(cache: Path, *words: str) -> str:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(__file__).resolve().parents[2] / ".src")}
    return subprocess.run([*CLI, *words], check=True, capture_output=True, text=True, env=env).stdout


def compiled(cache: Path) -> set[str]:
    return {str(path.relative_to(cache)) for path in cache.rglob("*.nbc")}


@pytest.mark.slow
def test_a_run_after_the_installation_compiles_nothing(tmp_path: Path) -> None:
    cache, recipe = tmp_path / "cache", tmp_path / "recipe.yaml"
    assert "kernels compiled in" in command(cache, "doctor", "--compile")
    before = compiled(cache)
    assert len(before) > 20
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts()))
    recipe.write_text(RECIPE.format(folder=tmp_path))
    rules = "corpora.deduped.rules=[{length: {min_words: 3}}, {c4: {terminal_punctuation: false, min_sentences: null}}]"
    command(cache, "run", str(recipe), "--set", rules, "--workers", "1")
    assert compiled(cache) == before
