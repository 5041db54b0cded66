"""An S3 server on a loopback port, and a bucket of its own for every test."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import fsspec
import pytest

BUCKETS = itertools.count()


def without_aws(patch: pytest.MonkeyPatch) -> None:
    """Hide this machine's own AWS configuration, and whatever would be asked for credentials over the network."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        patch.delenv(name, raising=False)
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    patch.setenv("AWS_CONFIG_FILE", "/dev/null")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="package")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        without_aws(patch)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "a-key-of-the-test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-test")
        yield f"http://{host}:{port}"
    started.stop()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def bucket(server: str) -> str:
    """Make a bucket and return its address."""
    name = f"bucket-{next(BUCKETS)}"
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}"


@pytest.fixture
def memory() -> Iterator[str]:
    """Return an address in memory where nothing is yet."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield "memory://texts"
    fs.store.clear()


def put(url: str, data: bytes) -> None:
    """Write a file at an address."""
    fs, path = fsspec.url_to_fs(url)
    fs.pipe_file(path, data)
