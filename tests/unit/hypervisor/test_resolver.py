"""Copies of what the host says of name servers follow it, also where it is replaced."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hypercontainer.hypervisor import resolver
from hypercontainer.hypervisor.resolver import Resolver, tell
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.linux import inotify


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a link leads, as with most who write it."""
    for name in ("etc", "run"):
        (tmp_path / name).mkdir()
    file = tmp_path / "run/resolv.conf"
    file.write_text("nameserver 192.0.2.1\n")
    (tmp_path / "etc/resolv.conf").symlink_to(file)
    monkeypatch.setattr(resolver, "RESOLVER", str(tmp_path / "etc/resolv.conf"))
    return file


def test_copies_follow_the_host(tmp_path: Path, host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        told = asyncio.Event()

        def noted(run: RunDir) -> None:
            tell(run)
            told.set()

        monkeypatch.setattr(resolver, "tell", noted)
        runs = [RunDir(tmp_path / "pods" / name) for name in "abc"]
        names = Resolver()
        for run in runs:
            run.create()
            if run is not runs[2]:  # has no network
                tell(run)
            names.follow(run)
        for text, replaced in (("nameserver 192.0.2.2\n", True), ("nameserver 192.0.2.3\n", False)):
            told.clear()
            if replaced:
                (new := host.with_suffix(".new")).write_text(text)
                new.replace(host)
            else:
                host.write_text(text)
            async with asyncio.timeout(10):
                while runs[1].resolver.read_text() != text:
                    await told.wait()
                    told.clear()
            assert runs[0].resolver.read_text() == text
            assert runs[0].resolver.stat().st_mode & 0o777 == 0o644
        assert not runs[2].names.exists()
        for run in runs:
            names.leave(run)

    asyncio.run(test())


def test_a_host_without_name_servers(tmp_path: Path, host: Path) -> None:
    host.unlink()
    run = RunDir(tmp_path / "vm")
    run.create()
    tell(run)
    assert list(run.names.iterdir()) == []


def test_what_cannot_be_watched_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        inotify.watch([tmp_path / "gone"])
