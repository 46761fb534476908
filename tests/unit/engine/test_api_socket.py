"""Docker's API for containers: who gets it, with whose rights, from when and until when."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from fake_process import FakeProcess
from fake_world import IMAGE, World
from hypercontainer.agent.wire import Stream
from hypercontainer.config.model import Docker
from hypercontainer.contract.lent import data
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.contract.volumes import HostPath, Volume, VolumeMount
from hypercontainer.errors import Conflict, InvalidArgument
from hypercontainer.semantics.api_socket import asked_for
from stories import Tell

SOCKET = "/var/run/docker.sock"
US = os.getuid()
OWN = Path("/run/hyper/docker.sock")


def mounted(*pairs: tuple[str, str], **more: Any) -> ContainerSpec:
    volumes = tuple(Volume(f"v{number}", HostPath(source)) for number, (source, _) in enumerate(pairs))
    mounts = tuple(VolumeMount(f"v{number}", path) for number, (_, path) in enumerate(pairs))
    return ContainerSpec(image=IMAGE, command=("cat",), volumes=volumes, mounts=mounts, **more)


@pytest.mark.parametrize("source", [SOCKET, "/run/docker.sock", "/run//hyper/docker.sock"])
def test_a_mount_of_the_socket_is_a_wish_for_the_api(source: str) -> None:
    made = asked_for(mounted((source, "/d.sock"), ("/srv", "/srv")), OWN, US)
    assert made.api_socket == "/d.sock"
    assert [volume.source for volume in made.volumes] == [HostPath("/srv")]
    assert [mount.path for mount in made.mounts] == ["/srv"]


def test_no_other_mount_is() -> None:
    for source in ("/var/run", "/var/run/docker.sock.d", "/run/docker.sock/.."):
        spec = mounted((source, SOCKET))
        assert asked_for(spec, OWN, US) is spec


def test_it_is_in_one_place() -> None:
    assert asked_for(mounted((SOCKET, "/a"), api_socket="/a"), OWN, US).api_socket == "/a"
    with pytest.raises(InvalidArgument, match="/a and /b"):
        asked_for(mounted((SOCKET, "/a"), (SOCKET, "/b")), OWN, US)


def test_who_gets_it(tell: Tell) -> None:
    async def story(w: World) -> None:
        create = w.engine.containers.create
        with pytest.raises(InvalidArgument, match="who asks is not known"):
            await create(mounted((SOCKET, SOCKET)))
        with pytest.raises(InvalidArgument, match="who asks is not known"):
            await w.engine.pods.create(PodSpec(name="p", containers=(mounted((SOCKET, SOCKET)),)))
        with pytest.raises(InvalidArgument, match="two things are mounted at /a"):
            await create(mounted(("/srv", "/a"), api_socket="/a"), asked_by=0)
        with pytest.raises(InvalidArgument, match="no place in a container"):
            await create(mounted((SOCKET, "a")), asked_by=0)
        await w.engine.close()
        w.config = dataclasses.replace(w.config, docker=Docker(serve=False))
        await w.open()
        with pytest.raises(InvalidArgument, match="not served"):
            await w.engine.containers.create(mounted((SOCKET, SOCKET)), asked_by=0)

    tell(story)


class Lending:
    """In the place of ``hyper-lend``: it listens, and somebody connects at once.  ``heard``: what all are answered."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.says = b"listening\n"

    async def __call__(self, process: FakeProcess) -> int:
        await process.write(self.says, Stream.STDERR)
        if self.says != b"listening\n":
            return 1
        await process.write(data(0, b"who am I?"))
        while said := await process.read():
            if b"user" in said:
                self.heard.put_nowait(said)
        return 0


async def connect(uid: int) -> socket.socket:
    near, far = socket.socketpair()
    with far:
        far.sendall(b"user %d" % uid)
    return near


def running(w: World) -> list[str]:
    (guest,) = w.driver.guests.values()
    return [each.plan.args[0] for each in guest.processes.values() if each.wait_status is None]


def test_from_when_until_when_and_with_whose_rights(tell: Tell) -> None:
    async def story(w: World) -> None:
        lending = Lending()
        w.driver.programs = {"hyper-lend": lending}
        w.engine.real.open_api(connect)
        spec = mounted((SOCKET, SOCKET), name="c", stdin_open=True, **w.spec_defaults)
        await w.engine.containers.create(spec, asked_by=US)
        await w.engine.containers.start("c")
        assert running(w) == ["hyper-lend", "cat"]  # it is there when the program begins
        (guest,) = w.driver.guests.values()
        (plan,) = guest.containers.values()
        assert [(each.mode, each.bind) for each in plan.files if each.path == SOCKET] == [(0o660, True)]
        assert (await lending.heard.get()).startswith(data(0, b"user %d" % US))

        await w.engine.close()  # another hyperd has it again
        await w.open()
        w.engine.real.open_api(connect)
        assert (await lending.heard.get()).startswith(data(0, b"user %d" % US))
        assert sorted(running(w)) == ["cat", "hyper-lend"]
        assert (await w.engine.containers.inspect("c")).spec.api_socket == SOCKET

        await w.engine.containers.restart("c", timeout_s=0)
        assert (await lending.heard.get()).startswith(data(0, b"user %d" % US))

    tell(story)


def test_a_guest_that_has_no_place_for_it(tell: Tell) -> None:
    async def story(w: World) -> None:
        lending = Lending()
        lending.says = b"/var/run/docker.sock: read-only file system\n"
        w.driver.programs = {"hyper-lend": lending}
        spec = mounted((SOCKET, SOCKET), name="c", **w.spec_defaults)
        await w.engine.containers.create(spec, asked_by=US)
        with pytest.raises(Conflict, match=r"Docker.s API at /var/run/docker\.sock: .*read-only file system"):
            await w.engine.containers.start("c")
        assert (await w.engine.containers.inspect("c")).state == "created"

    tell(story)
