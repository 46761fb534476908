"""Registries for the image store: the fake one, which can misbehave, and Debian's real one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_registry import Fake
from hypercontainer.image.model import RegistriesConfig
from hypercontainer.image.signature.policy import Policy
from hypercontainer.image.store import ImageStore


@pytest.fixture
def fake() -> Iterator[Fake]:
    with Fake() as server:
        yield server


@pytest.fixture
def new_fake() -> Iterator[Callable[..., Fake]]:
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Fake(**options))


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[Callable[..., ImageStore]]:
    with contextlib.ExitStack() as stack:

        def new(name: str = "store", policy: Policy | None = None, **options: Any) -> ImageStore:
            quick: dict[str, Any] = {
                "certs_dir": tmp_path / "certs.d",
                "environ": {},
                "backoff_s": 0.01,
                "read_timeout_s": 5.0,
            }
            return stack.enter_context(
                contextlib.closing(
                    ImageStore(tmp_path / name, RegistriesConfig(**{**quick, **options}), policy)
                )
            )

        yield new


@pytest.fixture
def noise() -> Callable[[int], bytes]:
    """Bytes that do not compress, the same each time for one size."""
    return lambda size: random.Random(size).randbytes(size)


@pytest.fixture(scope="session")
def registry_binary() -> str:
    path = "/usr/bin/docker-registry"
    assert os.access(path, os.X_OK), "docker-registry is needed: apt-get install docker-registry"
    return path


@pytest.fixture
def new_registry(tmp_path: Path, registry_binary: str) -> Iterator[Callable[..., str]]:
    """Starts Debian's docker-registry; returns its HOST:PORT.  ``auth`` is its configuration's section."""
    started: list[subprocess.Popen[bytes]] = []

    def new(auth: dict[str, Any] | None = None) -> str:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            host = f"127.0.0.1:{probe.getsockname()[1]}"
        folder = tmp_path / f"registry{len(started)}"
        folder.mkdir()
        config = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": host, "secret": "test"},
            **({"auth": auth} if auth else {}),
        }
        (folder / "config.yml").write_text(json.dumps(config))
        process = subprocess.Popen(
            [registry_binary, "serve", str(folder / "config.yml")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        assert process.stderr is not None
        for line in process.stderr:  # it says so when it listens
            if b"listening on" in line:
                threading.Thread(target=process.stderr.read, daemon=True).start()
                return host
        raise AssertionError("docker-registry did not start")

    yield new
    for process in started:
        process.kill()
        process.wait(10)
