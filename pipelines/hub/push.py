"""Uploads a trained model and its card to the Hugging Face Hub, in one commit.

The token is the Hub's own business: HF_TOKEN, or what `hf auth login` stored. Files that the repository has already are
not sent again, and where nothing changed there is no commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from windtunnel.data_cards.model_card import render_model
from windtunnel.pipelines.hub.chosen import chosen_model
from windtunnel.pipelines.views.model_cards import model_card
from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import RecipeError, WindtunnelError
from windtunnel.schemas.printable import one_line

STALE = ("*.safetensors", "delta/*", "chat_template.jinja")  # of a model before: read beside the new one they spoil it


@dataclass(frozen=True)
class Pushed:
    """What became of an upload."""

    step: str
    url: str
    changed: bool
    files: int  # of the model, with its card


class PushError(WindtunnelError):
    """The Hub refused or did not answer."""


def push_model(
    recipe_name: str, sets: list[str], name: str, repo: str, seed: int | None, public: bool, branch: str | None
) -> Pushed:
    """Upload the model of a mix and seed to a repository, which is made where there is none: private, or `public`.

    Files of the repository that belong to no model directory stay. Raises PushError when the upload fails, RecipeError
    for a name that no repository can have.
    """
    plan, step, store = chosen_model(recipe_name, sets, name, seed)
    with plugin_files.relative_to(plan.directory):
        card = render_model(model_card(plan, step, store))
    artifact = step.artifact(store)
    folder = artifact.path / "model"
    files = {
        inner: artifact.path / file
        for file in sorted(artifact.manifest.files)
        if (inner := file.removeprefix("model/")) != file and inner != "README.md"
    }
    assert all(path.is_relative_to(folder) for path in files.values())
    message = f"{plan.recipe.question} {step.name}, windtunnel {artifact.manifest.key[:8]}"
    url, changed = upload(repo, files, {"README.md": card.encode()}, " ".join(message.split()), public, branch)
    return Pushed(str(step.name), url, changed, len(files) + 1)


def upload(
    repo: str, files: dict[str, Path], texts: dict[str, bytes], message: str, public: bool, branch: str | None = None
) -> tuple[str, bool]:
    """Commit files and texts by their path in a model repository; return its address, and whether anything changed."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    api, token = HfApi(), get_token()
    contents: dict[str, Any] = {**files, **texts}
    disable_progress_bars()
    try:
        place = api.create_repo(repo, private=not public, exist_ok=True)
        if branch is not None:
            api.create_branch(place.repo_id, branch=branch, exist_ok=True)
        info = api.model_info(place.repo_id, revision=branch)
        there = [file.rfilename for file in info.siblings or []]
        gone = [file for file in there if file not in contents and any(fnmatch(file, form) for form in STALE)]
        done = api.create_commit(
            place.repo_id,
            [
                *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=held) for name, held in contents.items()),
                *(CommitOperationDelete(path_in_repo=name) for name in gone),
            ],
            commit_message=one_line(message, 200),
            revision=branch,
            parent_commit=info.sha,  # where somebody else commits meanwhile, nothing is mixed
        )
    except HFValidationError as error:
        raise RecipeError(f"no repository can be called {repo!r}: {error}") from None
    except Exception as error:  # of the connection too, whose errors have no class that the client names
        raise PushError(_explained(repo, error, token)) from None  # a traceback would show the request with its token
    finally:
        enable_progress_bars()
    return str(place), done.oid != info.sha


def _explained(repo: str, error: Exception, token: str | None) -> str:
    """Return what went wrong and what to do; the token is never part of it."""
    causes = [error, error.__cause__, error.__context__]
    codes = [getattr(getattr(cause, "response", None), "status_code", None) for cause in causes]
    code = next((code for code in codes if code), 0)
    mend = {
        401: "log in with `hf auth login`, or set HF_TOKEN to a token that may write",
        403: "the token may not write there: take another, or a repository of your own (`NAME/REPO`)",
        404: "there is no such repository or branch, or the token may not see it",
        412: "somebody else committed to it meanwhile: push again",
    }.get(code, "push again; what was uploaded before is not sent twice")
    said = one_line(str(error).replace(token, "***") if token else error, 300)
    return (
        f"{repo}: the upload failed ({type(error).__name__}: {said}): {mend}. The repository has all of it or nothing"
    )
