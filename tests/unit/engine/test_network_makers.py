"""By what means networks are made, why there are none, and that a process which carries them is missed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypercontainer.engine.network import makers
from hypercontainer.engine.network.carried import Watch
from hypercontainer.engine.places import Places
from hypercontainer.linux.process import Identity, boot_id, start_ticks


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "root", tmp_path / "run")


def as_user(monkeypatch: pytest.MonkeyPatch, tun: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(makers, "TUN", tun)


@pytest.mark.parametrize("user", [0, 12345])
def test_who_may_makes_them(monkeypatch: pytest.MonkeyPatch, places: Places, user: int) -> None:
    as_user(monkeypatch, Path(os.devnull))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    found, why = makers.found(places)
    assert why == ""
    assert found is not None
    assert found.folder == places.networks
    assert not found.make().is_open


def test_a_device_that_is_not_open_to_the_user(monkeypatch: pytest.MonkeyPatch, places: Places) -> None:
    tun = places.root / "tun"
    as_user(monkeypatch, tun)
    assert makers.found(places) == (
        None,
        f"{tun} is not open to this user (chmod 666 {tun}, as root, opens it)",
    )


def test_users_without_namespaces(monkeypatch: pytest.MonkeyPatch, places: Places) -> None:
    as_user(monkeypatch, Path(os.devnull))
    places.root.mkdir()
    (places.root / "zero").write_text("0\n")
    monkeypatch.setattr(makers, "_NAMESPACES", (f"../..{places.root}/zero",))
    found, why = makers.found(places)
    assert found is None
    assert why.startswith("users have no namespaces (sysctl ")


def sleeping() -> tuple[subprocess.Popen[bytes], Identity]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    return process, Identity(process.pid, start_ticks(process.pid) or 0, boot_id())


def test_one_that_is_killed_is_missed_once() -> None:
    asyncio.run(_missed_once())


async def _missed_once() -> None:
    missed: asyncio.Queue[str] = asyncio.Queue()
    watch = Watch(lambda: missed.put("it"))
    former, of_former = sleeping()
    latter, of_latter = sleeping()
    with former, latter:
        watch.follow(of_former)
        watch.follow(of_latter)
        former.kill()
        latter.kill()
        async with asyncio.timeout(30):
            assert await missed.get() == "it"
        watch.follow(of_latter)  # which is gone already
        async with asyncio.timeout(30):
            assert await missed.get() == "it"
        watch.follow(None)
        await watch.close()
    assert missed.empty()


def test_who_is_let_go_of_is_not_missed() -> None:
    asyncio.run(_let_go_of())


async def _let_go_of() -> None:
    missed: asyncio.Queue[str] = asyncio.Queue()
    watch = Watch(lambda: missed.put("it"))
    process, identity = sleeping()
    with process:
        watch.follow(identity)
        await watch.close()
        process.kill()
    assert missed.empty()
