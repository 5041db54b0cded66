"""Renders the report's data as one HTML file, without scripts and without anything loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.collect import ReportData
from windtunnel.schemas.artifact import write_text

TEMPLATES = Path(__file__).parent


def write_report(data: ReportData, path: Path) -> None:
    """Write the page, atomically."""
    write_text(path, render(data))


def render(data: ReportData) -> str:
    """Return the page as HTML.

    Jinja2's autoescaping escapes all text from data. The Content-Security-Policy forbids scripts and connections, and
    allows the one style sheet by its hash, so that even unescaped text would run nothing.
    """
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return _environment().get_template("page.html").render(data=data, style=style, policy=policy)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": units.count,
        "short": units.short,
        "size": units.size,
        "seconds": units.seconds,
        "share": units.share,
        "capfirst": lambda text: text[:1].upper() + text[1:],
        "breaks": lambda text: escape(text).replace("_", Markup("_<wbr>")),
    }
    return environment
