"""The models that a recipe names, to ask or to train, and how those from files are served."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from windtunnel.generators.client.address import without_secrets
from windtunnel.generators.client.parameters import checked_parameters
from windtunnel.pipelines.recipe.part import Part


class Serve(Part):
    """How vLLM serves a model from files; options that change answers are part of the key they are cached under."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # arguments: [--max-num-seqs, 16]
    context: int | None = Field(None, gt=0)  # longest sequence in tokens; the model's own by default
    kv_cache_gib: float | None = Field(None, gt=0)  # on a CPU only
    restarts: int = Field(3, ge=0)  # of a server that ended by itself
    arguments: list[str] = Field(default_factory=list)  # further arguments of vLLM's command line

    @field_validator("arguments")
    @classmethod
    def _no_secrets(cls, arguments: list[str]) -> list[str]:
        flags = {argument.partition("=")[0].replace("_", "-") for argument in arguments}
        if secret := flags & {"--api-key", "--hf-token"}:
            raise ValueError(f"{min(secret)} would write a secret into results; a local server needs none")
        return arguments


class Model(Part):
    """A model to ask or to train: a sample or a directory (served by vLLM to be asked), or a URL."""

    sample: str | None = None  # see `windtunnel samples`
    path: str | None = None  # a directory with config.json, safetensors and a tokenizer
    url: Annotated[str, AfterValidator(without_secrets)] | None = None  # OpenAI-compatible, with `model` and `key`
    model: str | None = None
    key: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$")  # name of the variable that holds the key
    revision: str | None = None  # distinguishes models that answer at one `url` by one name; default: the address
    dialect: Literal["openai", "vllm"] | None = None  # `vllm`: the `url` is a vLLM server, with its own parameters
    price: tuple[float, float] = (0.0, 0.0)  # dollars per million prompt and completion tokens
    # further fields of every request, such as {reasoning_effort: low}
    parameters: Annotated[dict[str, Any], AfterValidator(checked_parameters)] = Field(default_factory=dict)
    verdict: Literal["auto", "logprobs", "parsed"] = "auto"  # how it judges two answers; see `judge:openai`
    serve: Serve | None = None  # for models from files

    @model_validator(mode="after")
    def _one_origin(self) -> Model:
        if sum(value is not None for value in (self.sample, self.path, self.url)) != 1:
            raise ValueError("a model has one of `sample:`, `path:` or `url:`")
        if (self.url is None) != (self.model is None):
            raise ValueError("a model at a `url:` needs `model:`, its name there, and only such a model has it")
        if self.url is not None and self.serve is not None:
            raise ValueError("`serve:` is for models from files: a model at a `url:` is served already")
        if self.url is None and (self.revision or self.dialect):
            raise ValueError("`revision:` and `dialect:` go with `url:`: for a model from files both are known")
        return self
