"""Replies by a vLLM server that runs already: it loads the policy's weights from a directory that both can see.

The server is started with `VLLM_SERVER_DEV_MODE=1` on a model of the same shape, such as the weights that a run leaves
in the directory when it finds no server; its `/collective_rpc` then takes `reload_weights`. Token ids go in and out.
Replies are kept as they come, by the weights and all that they depend on, so an interrupted stage goes on with the
replies that it had, although a server's rounding differs with its load.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.journal import digest_of
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.data.answers import Answers, answered

if TYPE_CHECKING:
    from windtunnel.trainer.rollouts.sampling import Sampled

FOLDER = "windtunnel-policy"  # in the directory; it takes the place of the last round's
LARGEST_SEED = 2**63 - 1


class Vllm(BaseModel):
    """A vLLM server at `url`, as http://HOST:PORT, and the directory in which it finds weights by the same path."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    url: str
    directory: str
    model: str | None = None  # the name that it serves it by; None: its only one
    parallel: int = Field(default=64, ge=1)  # replies at a time
    timeout: float = Field(default=600.0, gt=0)  # seconds
    tolerance: float = Field(default=0.2, gt=0)  # nats a token by which its log-probabilities may be off, on the mean

    def keyed(self) -> dict[str, Any]:
        """Return what is part of a key: which model it is, and not where and how fast it answers."""
        return {"model": self.model}

    @field_validator("url")
    @classmethod
    def _root(cls, url: str) -> str:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and not parts.query
        if not plain or parts.path.strip("/") not in ("", "v1"):
            raise ValueError("this is no address of a vLLM server: write http://HOST:PORT")
        return f"{parts.scheme}://{parts.netloc}"


class Rollouts(BaseModel):
    """Who samples the replies."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    vllm: Vllm


class VllmSampler:
    """Replies of a server with weights that `write` has put into a directory."""

    def __init__(self, server: Vllm, cache: Path) -> None:
        from openai import OpenAI

        self.server = server
        self.folder = Path(server.directory).absolute() / FOLDER
        self._answers = Answers(cache / "replies.sqlite")
        self._client: Any = OpenAI(
            api_key="none", base_url=f"{server.url}/v1", organization="", project="", timeout=server.timeout,
            max_retries=4,
        )  # fmt: skip

    def replies(
        self,
        write: Callable[[Path], None],
        prompts: Sequence[Sequence[int]],
        keys: Sequence[int],
        ends: Sequence[int],
        temperature: float,
        most: int,
    ) -> list[Sampled]:
        """Return a reply to each prompt of at most `most` tokens, drawn by the seeds `keys` under the written weights.

        Raises InputError where the server is gone, refuses, or cannot load them.
        """
        from windtunnel.trainer.rollouts.sampling import Sampled

        folder = self.folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        write(folder)
        weights = [[file.name, *digest_of(file)] for file in sorted(folder.glob("*.safetensors"))]
        settings = {"weights": weights, "stop_token_ids": list(ends), "temperature": temperature, "max_tokens": most}
        asked = [
            {"prompt": list(prompt), "seed": key & LARGEST_SEED, **settings}
            for prompt, key in zip(prompts, keys, strict=True)
        ]
        told = answered(self._answers, asked, self._ask, self.server.parallel, lambda: self._load(folder))
        out = []
        for one in map(json.loads, told):
            ids, logps = one["ids"], one["logps"]
            out.append(Sampled(ids, ids[-1] in ends, float("nan"), logps))
        return out

    def _load(self, folder: Path) -> None:
        """Have the server load weights, and forget what it has kept of the last ones."""
        self._post("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}})
        self._post("/reset_prefix_cache", None)

    def _post(self, path: str, content: Mapping[str, Any] | None) -> None:
        data = json.dumps(content).encode() if content is not None else b""
        request = urllib.request.Request(self.server.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self.server.timeout):
                return
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise self._stopped(f"has no {path}: start it with VLLM_SERVER_DEV_MODE=1") from None
            said = one_line(error.read(2000).decode(errors="replace"), 300)
            raise self._stopped(
                f"does not load the weights in {self.folder} (status {error.code}: {said}). It must see this "
                "directory by the same path and have been started on a model of the same shape; a server that has "
                "failed so must be started again"
            ) from None
        except (OSError, HTTPException) as error:
            raise self._stopped(
                f"does not answer ({type(error).__name__}). The weights are in {self.folder}, on which it can start"
            ) from None

    def _ask(self, question: Mapping[str, Any]) -> str:
        import openai

        ends = question["stop_token_ids"]
        more = {"stop_token_ids": ends, "ignore_eos": True, "return_token_ids": True}  # no ends of a file
        try:
            reply = self._client.completions.create(
                model=self._name(), prompt=question["prompt"], max_tokens=question["max_tokens"], logprobs=0,
                temperature=question["temperature"], seed=question["seed"], top_p=1.0, extra_body=more,
            )  # fmt: skip
            choice = reply.choices[0]
            ids, logps = [int(k) for k in choice.token_ids], [float(x) for x in choice.logprobs.token_logprobs]
            if not ids or len(ids) != len(logps):
                raise ValueError
        except openai.APIStatusError as error:
            said = one_line(str(error.message), 300)
            raise self._stopped(f"refuses with status {error.status_code}: {said}") from None
        except openai.APIConnectionError as error:
            raise self._stopped(f"does not answer ({type(error).__name__})") from None
        except (LookupError, AttributeError, TypeError, ValueError):
            raise self._stopped("gives no token ids with log-probabilities: it must be vLLM 0.10.2 or newer") from None
        return json.dumps({"ids": ids, "logps": logps})

    def _name(self) -> str:
        if self.server.model is not None:
            return self.server.model
        names = [model.id for model in self._client.models.list().data]
        if len(names) != 1:
            raise InputError(f"the server at {self.server.url} serves {', '.join(names)}: name one by `model`")
        self.server = self.server.model_copy(update={"model": names[0]})
        return names[0]

    def _stopped(self, what: str) -> InputError:
        return InputError(
            f"rollouts by vLLM: the server at {self.server.url} {what}. All replies so far are kept: mend it and start "
            "again"
        )
