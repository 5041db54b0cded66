"""Serves a model directory or a sample model with vLLM."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console


def serve_model(model: str, port: int | None, context: int | None, console: Console) -> None:
    """Serve until interrupted; a sample model is fetched and converted first."""
    from windtunnel.generators.serving.server import Serve, serve_until_interrupted
    from windtunnel.pipelines.samples.models import fetch

    directory = Path(model) if Path(model).is_dir() else fetch(model)
    name = model if not Path(model).is_dir() else directory.name
    serve_until_interrupted(Serve(directory, name=name, port=port, context=context), console.print)
