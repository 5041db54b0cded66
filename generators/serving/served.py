"""The models of a recipe: at an address, or on a server that is started when needed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from windtunnel.generators.client.address import without_secrets
from windtunnel.generators.client.endpoint import Endpoint
from windtunnel.generators.client.parameters import checked_parameters
from windtunnel.generators.serving import server_record, vllm_command, weights
from windtunnel.generators.serving.server import Serve, Server
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.role import by_name

RUN_PROCESS = "WINDTUNNEL_RUN_PROCESS"  # pid of the run's main process, which owns the servers
Verdicts = Literal["auto", "logprobs", "parsed"]
MODEL = "model"  # kind of the input roles that hold a model: model:NAME


class Served(BaseModel):
    """One model: `url` of an OpenAI-compatible server, `serve` (a directory or a name of the hub) or `role` (an input).

    `model` is its name on the server (default: the directory's name). `revision` distinguishes models of one name at a
    `url`; for models served here it is the hash of the weights. `key_variable` names the variable that holds the key;
    `price` is in dollars per million prompt and completion tokens; `parameters` are further fields of every request;
    `verdict` is how it judges (see `ModelJudge`); `licence` is empty where it is not known.
    `arguments` are further arguments of vLLM; a server started here does not see the variables `withheld` (keys of
    other models).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
    url: Annotated[str, AfterValidator(without_secrets)] | None = None
    serve: str | None = None
    role: str | None = None
    model: str = ""
    revision: str = ""
    key_variable: str | None = None
    price: tuple[float, float] = (0.0, 0.0)
    parameters: Annotated[dict[str, Any], AfterValidator(checked_parameters)] = Field(default_factory=dict)
    verdict: Verdicts = "auto"
    licence: str = ""
    dialect: str = "openai"
    context: int | None = None
    kv_cache_gib: float | None = None
    arguments: tuple[str, ...] = ()
    restarts: int = 3
    withheld: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_place(self) -> Served:
        if sum(place is not None for place in (self.url, self.serve, self.role)) != 1:
            raise ValueError("a model has one of `url` (an address), `serve` (a directory) or `role` (an input)")
        if self.url is not None and not self.model:
            raise ValueError("a model at a `url` needs `model`, its name there")
        if self.role is not None and not by_name({self.role: None}, MODEL):
            raise ValueError(f"the role of an input that holds a model begins with '{MODEL}:' and has a name")
        return self

    @property
    def raw(self) -> bool:
        """Whether raw text can be completed, as by vLLM; another server may accept only chats."""
        return self.url is None or self.dialect == "vllm"

    def identity(self) -> list[Any]:
        """Return what decides the answers: the model, how it is served and asked, not its address."""
        return [*self._model(), {"parameters": self.parameters}] if self.parameters else self._model()

    def _model(self) -> list[Any]:
        if self.url is not None:
            dialect = [self.dialect] if self.dialect != "openai" else []
            return [self.model, self.revision or self.url, self.context, *dialect]
        cache = server_record.runtime_directory() / "digests.cache"
        how = [deciding] if (deciding := vllm_command.deciding(self.arguments, cache)) else []
        if self.serve is None:
            return [self.model, self.revision or self.role, self.context, *how]
        directory = weights.directory(self.serve)
        return [self.model or directory.name, weights.revision(directory, cache), self.context, *how]


@contextmanager
def opened(models: Mapping[str, Served], inputs: Mapping[str, Artifact]) -> Iterator[list[Endpoint]]:
    """Yield one endpoint per model; start the servers it needs, and end those that this process owns."""
    with ExitStack() as stack:
        yield [_endpoint(name, served, inputs, stack) for name, served in models.items()]


def endpoint(name: str, served: Served) -> Endpoint:
    """Return the endpoint of a model at a `url`."""
    assert served.url is not None
    names = ("revision", "key_variable", "price", "dialect", "parameters")
    return Endpoint(served.url, served.model, name=name, **{key: getattr(served, key) for key in names})


def _endpoint(name: str, served: Served, inputs: Mapping[str, Artifact], stack: ExitStack) -> Endpoint:
    if served.url is not None:
        return endpoint(name, served)
    directory = served.serve if served.role is None else inputs[served.role].path / "model"
    about = {key: getattr(served, key) for key in ("context", "kv_cache_gib", "arguments", "restarts", "withheld")}
    serve = Serve(directory or Path(), name=served.model or name, **about)
    owner = os.environ.get(RUN_PROCESS)
    here = stack.enter_context(Server(serve, owner=int(owner) if owner else None))
    return replace(here, name=name, price=served.price, parameters=served.parameters)
