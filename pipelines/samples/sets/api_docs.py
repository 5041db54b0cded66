"""API reference: the documentation strings of botocore's service descriptions as plain text; many near-duplicates."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.readers.extract import fragment_text
from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.sample_set import SampleSet

SHORTEST_CHARACTERS = 400  # shorter strings are notes on single parameters
BOTOCORE = Package(
    "pypi", "botocore", "1.44.5", "8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921", 16.6
)


class ApiDocs(SampleSet):
    """Documentation strings of at least 400 characters.

    The package has HTML fragments; the documents are their plain text with paragraphs and list bullets (resiliparse),
    because a third of the fragments is markup.
    """

    name = "api_docs"
    about = "reference text of web service APIs, English; a fifth are exact duplicates"
    licence = "Apache-2.0"
    text_megabytes = 16.82
    origin = "service descriptions in the Python package botocore"
    packages = (BOTOCORE,)
    parts = 4

    def members(self) -> list[tuple[str, int]]:
        return [(name, size) for name, size in BOTOCORE.members() if name.endswith("/service-2.json.gz")]

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        service = member.split("/")[-3]
        for path, html in documentation(json.loads(gzip.decompress(BOTOCORE.read(member)))):
            if len(html) >= SHORTEST_CHARACTERS:
                yield Row(fragment_text(html), self.name, lang="en", meta={"service": service, "path": path})


def documentation(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every `documentation` string below a node, in document order."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "documentation" and isinstance(value, str):
                yield path, value
            else:
                yield from documentation(value, f"{path}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from documentation(value, f"{path}/{index}")
