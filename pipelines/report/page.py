"""Renders the report's data as one HTML file without scripts, fonts or anything else from outside."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.collect import ReportData, templates
from windtunnel.schemas.artifact import write_text


def write_report(data: ReportData, path: Path) -> None:
    """Write the page, atomically."""
    write_text(path, render(data))


def render(data: ReportData) -> str:
    """Return the page as HTML.

    Text from data is escaped by Jinja2's autoescaping, everywhere; the Content-Security-Policy forbids scripts and
    connections, and allows the one style sheet by its hash, so that even a hole in the escaping would run nothing.
    """
    style = (templates() / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return _environment().get_template("page.html").render(data=data, style=style, policy=policy)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(templates()),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "count": units.count,
        "short": units.short,
        "size": units.size,
        "seconds": units.seconds,
        "share": units.share,
        "capfirst": lambda text: text[:1].upper() + text[1:],
        "breaks": lambda text: escape(text).replace("_", Markup("_<wbr>")),
    }
    return made
