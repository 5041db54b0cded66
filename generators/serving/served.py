"""Where a recipe's models answer: at an address, or on a server of our own that is started for the occasion."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from windtunnel.generators.client.address import without_secrets
from windtunnel.generators.client.endpoint import Endpoint
from windtunnel.schemas.artifact import Artifact

RUN_PROCESS = "WINDTUNNEL_RUN_PROCESS"  # pid of the process that conducts the run: servers live as long as it does
MODEL_ROLE = "model:"  # input roles that hold a model of our own begin so


class Served(BaseModel):
    """One model: `url` of an OpenAI-compatible server, `serve` (a directory or a name of the hub) or `role` (an input).

    `model` is its name on the server (default: the directory's name), `revision` tells two models of one name at a
    foreign address apart; for models served by us it is the hash of the weights. `key_variable` names the variable
    that holds the key; `price` is dollars per million prompt and completion tokens. `arguments` are further words of
    vLLM's command line; a server of ours sees none of the variables `withheld` (keys of the recipe's other models).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
    url: Annotated[str, AfterValidator(without_secrets)] | None = None
    serve: str | None = None
    role: str | None = None
    model: str = ""
    revision: str = ""
    key_variable: str | None = None
    price: tuple[float, float] = (0.0, 0.0)
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
        if self.role is not None and not self.role.startswith(MODEL_ROLE):
            raise ValueError(f"the role of an input that holds a model begins with {MODEL_ROLE!r}")
        return self

    @property
    def raw(self) -> bool:
        """Whether raw text can be completed: vLLM can do that, an address may take nothing but chats."""
        return self.url is None or self.dialect == "vllm"

    def identity(self) -> list[Any]:
        """Return what decides the answers: which model, served how, never where it happens to answer."""
        if self.url is not None:
            dialect = [self.dialect] if self.dialect != "openai" else []
            return [self.model, self.revision or self.url, self.context, *dialect]
        from windtunnel.generators.serving import server_record, vllm_command, weights

        cache = server_record.runtime_directory() / "digests.cache"
        how = [deciding] if (deciding := vllm_command.deciding(self.arguments, cache)) else []
        if self.serve is None:
            return [self.model, self.revision or self.role, self.context, *how]
        directory = weights.directory(self.serve)
        return [self.model or directory.name, weights.revision(directory, cache), self.context, *how]


@contextmanager
def opened(models: Mapping[str, Served], inputs: Mapping[str, Artifact]) -> Iterator[list[Endpoint]]:
    """Yield one endpoint per model, with servers started where they are ours to start; ends what this process owns."""
    with ExitStack() as stack:
        yield [_endpoint(name, served, inputs, stack) for name, served in models.items()]


def _endpoint(name: str, served: Served, inputs: Mapping[str, Artifact], stack: ExitStack) -> Endpoint:
    if served.url is not None:
        return Endpoint(
            served.url,
            served.model,
            name=name,
            revision=served.revision,
            key_variable=served.key_variable,
            price=served.price,
            dialect=served.dialect,
        )
    from dataclasses import replace

    from windtunnel.generators.serving.server import Serve, Server

    directory = served.serve if served.role is None else inputs[served.role].path / "model"
    serve = Serve(
        directory or Path(),
        name=served.model or name,
        context=served.context,
        kv_cache_gib=served.kv_cache_gib,
        arguments=served.arguments,
        restarts=served.restarts,
        withheld=served.withheld,
    )
    owner = os.environ.get(RUN_PROCESS)
    return replace(stack.enter_context(Server(serve, owner=int(owner) if owner else None)), name=name)
