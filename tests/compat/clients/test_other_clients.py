"""aiodocker, python-on-whales and dockerode: what each does first and most."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiodocker
import pytest
from python_on_whales import DockerClient as Whales

from docker_clients import Absent, Clients
from docker_sdk import BUSYBOX, tar_of

DOCKERODE = Path(__file__).parents[1] / "node/dockerode.cjs"


def test_aiodocker(daemon: Clients) -> None:
    asyncio.run(_aiodocker(daemon))


async def _aiodocker(daemon: Clients) -> None:
    config: dict[str, Any] = {"Image": BUSYBOX, "Cmd": ["cat"], "OpenStdin": True, "StdinOnce": True}
    async with aiodocker.Docker(url=daemon.host) as client:
        docker: Any = client
        assert (await docker.version())["ApiVersion"] >= "1.51"
        assert BUSYBOX in [tag for each in await docker.images.list() for tag in each["RepoTags"]]
        made = await docker.containers.create_or_replace("one", {**config, "AttachStdin": True})
        async with made.attach(stdin=True, stdout=True, stderr=True) as stream:
            await made.start()
            await stream.write_in(b"typed\n")
            message = await stream.read_out()
            assert message is not None and message.data == b"typed\n"
        # StdinOnce: its input ends with the first that was attached.
        assert (await made.wait())["StatusCode"] == 0
        assert await made.log(stdout=True) == ["typed\n"]
        stays = await docker.containers.run({"Image": BUSYBOX, "Cmd": ["sleep", "300"]}, name="two")
        added = await stays.exec(["echo", "added"])
        async with added.start(detach=False) as stream:
            said = [message.data async for message in _messages(stream)]
        assert b"".join(said) == b"added\n"
        assert (await added.inspect())["ExitCode"] == 0
        await stays.put_archive("/tmp", tar_of(given=b"x"))
        assert (await stays.get_archive("/tmp/given")).getnames() == ["given"]
        assert (await stays.stats(stream=False))[0]["name"] in ("/two", "two")
        network = await docker.networks.create({"Name": "net"})
        await network.connect({"Container": stays.id})
        await network.disconnect({"Container": stays.id, "Force": True})
        await network.delete()
        volume = await docker.volumes.create({"Name": "vol"})
        await volume.delete()
        await stays.delete(force=True)


async def _messages(stream: Any) -> AsyncIterator[Any]:
    while message := await stream.read_out():
        yield message


def test_python_on_whales(daemon: Clients) -> None:
    config = daemon.environment["DOCKER_CONFIG"]
    whales: Any = Whales(host=daemon.host, client_call=daemon.docker_argv("--config", config))
    assert whales.run(BUSYBOX, ["echo", "hi"], remove=True) == "hi"
    made = whales.run(BUSYBOX, ["sleep", "300"], detach=True, init=True, name="one", labels={"a": "b"})
    assert made.state.running and made.config.labels["a"] == "b"
    assert made.execute(["echo", "added"]) == "added"
    assert [each.name for each in whales.ps(filters=[("label", "a=b")])] == ["one"]
    assert whales.image.inspect(BUSYBOX).repo_tags == [BUSYBOX]
    with whales.volume.create("vol") as volume:
        assert volume.driver == "local"
    with whales.network.create("net") as network:
        whales.network.connect(network, made)
        assert "net" in made.network_settings.networks
        whales.network.disconnect(network, made)
    assert whales.system.info().containers_running == 1
    made.kill()
    made.remove()


def test_dockerode(daemon: Clients) -> None:
    try:
        argv = daemon.script_argv(DOCKERODE)
    except Absent as absent:
        pytest.skip(str(absent))
    done = daemon.run_argv(argv)
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "ran": "hi\n",
        "added": "added\n",
        "status": 0,
        "events": ["create", "start", "die", "destroy"],
    }
