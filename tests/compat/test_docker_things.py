"""Networks, volumes and the system by Docker's API: what dockerd answers, hyperd answers in the same shape, and errors
by the same statuses.  Asked by Docker's library for Python, in dockerd's version of the API.

What differs stands here with its reason; a difference that is not here fails, as does one that is here no more.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker as sdk
import pytest
from docker.errors import APIError

from busybox_image import REFERENCE
from dockerd import Docker
from hyper import Hyper
from hypercontainer import __version__

VERSION = "1.41"
OWN = "Hyper's own"
PROGRAMS = "a program of Docker's that Hyper has not"
LATER = "what is empty is as newer ones have it"

Each = tuple[sdk.APIClient, sdk.APIClient]
Ask = Callable[[sdk.APIClient], Any]


@pytest.fixture
def each(docker: Docker, compared: Hyper) -> Iterator[Each]:
    """dockerd's and hyperd's."""
    compared("version")
    with contextlib.ExitStack() as stack:
        addresses = (docker.client[-1], f"unix://{compared.run_dir}/docker.sock")
        clients = [sdk.APIClient(base_url=address, version=VERSION) for address in addresses]
        for client in clients:
            stack.callback(client.close)
        yield clients[0], clients[1]
        for client in clients:
            client.prune_networks()
            for volume in client.volumes()["Volumes"] or ():
                client.remove_volume(volume["Name"])


def test_dockers_clients_follow_the_context(
    docker: Docker, compared: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    own = {**compared.environment, "DOCKER_CONFIG": str(tmp_path)}

    current = ("context", "ls", "--format", "{{if .Current}}{{.Name}}{{end}}")

    def said(*words: str) -> str:
        done = subprocess.run([docker.client[0], *words], capture_output=True, check=True, timeout=60)
        return done.stdout.decode().strip()

    def hyper(*words: str) -> str:
        done = subprocess.run(compared.argv(*words), capture_output=True, check=True, timeout=60, env=own)
        return done.stdout.decode().strip()

    address = f"unix://{compared.run_dir}/docker.sock"
    assert hyper("context", "show") == address
    assert hyper("context", "create") == "hyper"
    assert said("--context", "hyper", "version", "--format", "{{.Server.Version}}") == __version__
    assert said(*current) == "default"
    assert hyper("context", "use") == "hyper"
    assert said(*current) == "hyper"
    assert said("context", "inspect", "--format", "{{.Endpoints.docker.Host}}") == address
    assert said("info", "--format", "{{.DefaultRuntime}}") == "hyper"
    with contextlib.closing(sdk.from_env(use_ssh_client=False)) as client:
        assert client.info()["DefaultRuntime"] == "hyper"
    assert hyper("context", "rm") == "hyper"
    assert said("context", "ls", "--format", "{{.Name}}") == "default"


def shape(value: Any) -> Any:
    """Names and types; of a list, its first thing's."""
    if isinstance(value, dict):
        return {name: shape(below) for name, below in value.items()}
    if isinstance(value, list):
        return [shape(below) for below in value[:1]]
    return type(value).__name__


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in theirs.keys() | ours.keys():
            below = f"{path}.{name}".lstrip(".")
            if name not in ours or name not in theirs:
                yield f"{below}: {'more' if name in ours else 'missing'}"
            else:
                yield from differences(theirs[name], ours[name], below)
    elif isinstance(theirs, list) and isinstance(ours, list) and theirs and ours:
        yield from differences(theirs[0], ours[0], f"{path}[]")
    elif theirs != ours:
        yield f"{path}: {_named(ours)}, not {_named(theirs)}"


def _named(shown: Any) -> str:
    return shown if isinstance(shown, str) else type(shown).__name__


NETWORK = {"IPAM.Options: dict, not NoneType": LATER}
SHAPES: dict[str, tuple[Ask, dict[str, str]]] = {
    "a new network": (lambda client: client.create_network("back", labels={"a": "b"}), {}),
    "a network": (lambda client: client.inspect_network("back"), NETWORK),
    "a network in a list": (lambda client: client.networks(names=["^back$"])[0], NETWORK),
    "the network none": (lambda client: client.inspect_network("none"), NETWORK),
    "the network host": (lambda client: client.inspect_network("host"), NETWORK),
    "pruned networks": (lambda client: client.prune_networks(), {}),
    "a new volume": (lambda client: client.create_volume("data", labels={"a": "b"}), {}),
    "a volume": (lambda client: client.inspect_volume("data"), {}),
    "volumes": (lambda client: client.volumes(filters={"name": "data"}), {}),
    "pruned volumes": (lambda client: client.prune_volumes(), {}),
    "version": (lambda client: client.version(), {}),
    "disk usage": (
        lambda client: client.df(),
        {
            "BuildCache: list, not NoneType": LATER,
            "Images[].RepoDigests: list, not NoneType": LATER,
        },
    ),
    "info": (
        lambda client: client.info(),
        {
            "Runtimes.hyper: more": OWN,
            "Runtimes.runc: missing": PROGRAMS,
            "Runtimes.io.containerd.runc.v2: missing": PROGRAMS,
            "Runtimes.io.containerd.runtime.v1.linux: missing": PROGRAMS,
            "RegistryConfig.Mirrors: NoneType, not list": LATER,
        },
    ),
    "pruned containers": (lambda client: client.prune_containers(), {}),
    "plugins": (lambda client: client.plugins(), {}),
}


def test_answers_have_the_same_shape(each: Each) -> None:
    wrong = []
    for name, (ask, known) in SHAPES.items():
        theirs, ours = (shape(ask(client)) for client in each)
        found = set(differences(theirs, ours))
        wrong += [f"{name}: {line}" for line in sorted(found - known.keys())]
        wrong += [f"{name}: no difference any more: {line}" for line in sorted(known.keys() - found)]
    assert not wrong, "\n" + "\n".join(wrong)


def refusal(ask: Ask, client: sdk.APIClient) -> tuple[int, str]:
    """(200, "") where nothing is refused."""
    try:
        ask(client)
    except APIError as error:
        return error.status_code, str(error.explanation)
    return 200, ""


NO_NETWORK = "no network to connect"
# Of a container that does not run dockerd asks nothing: its start fails.
ONLY_HERE = {NO_NETWORK: 404}
# With the same words, where it is said so.
REFUSALS: dict[str, tuple[Ask, bool]] = {
    "no such network": (lambda client: client.inspect_network("nope"), True),
    "no such network to remove": (lambda client: client.remove_network("nope"), True),
    "none is there to stay": (lambda client: client.remove_network("none"), True),
    "bridge is there to stay": (lambda client: client.remove_network("bridge"), False),
    "bridge is there": (lambda client: client.create_network("bridge"), False),
    "a network that is there": (lambda client: client.create_network("there", check_duplicate=True), True),
    "a driver that is not there": (lambda client: client.create_network("x", driver="weird"), True),
    "a subnet that is taken": (
        lambda client: client.create_network(
            "x", ipam=sdk.types.IPAMConfig(pool_configs=[sdk.types.IPAMPool(subnet="10.94.8.0/25")])
        ),
        False,
    ),
    "nobody to connect": (lambda client: client.connect_container_to_network("nope", "there"), True),
    NO_NETWORK: (lambda client: client.connect_container_to_network("idle", "nope"), True),
    "who is there already": (lambda client: client.connect_container_to_network("idle", "there"), False),
    "a network of what does not run": (lambda client: client.remove_network("there"), False),
    "an unknown filter of networks": (lambda client: client.networks(filters={"x": "y"}), False),
    "no such volume": (lambda client: client.inspect_volume("nope"), True),
    "no such volume to remove": (lambda client: client.remove_volume("nope"), True),
    "a volume's driver that is not there": (lambda client: client.create_volume("xx", driver="weird"), True),
    "an unknown option of a volume": (
        lambda client: client.create_volume("xx", driver_opts={"foo": "1"}),
        True,
    ),
    "a volume in use": (lambda client: client.remove_volume("used"), False),
    "no swarm": (lambda client: client.inspect_swarm(), True),
    "no nodes": (lambda client: client.nodes(), True),
    "no services": (lambda client: client.services(), True),
    "no secrets": (lambda client: client.secrets(), True),
    "no such plugin": (lambda client: client.inspect_plugin("nope"), True),
}


def test_errors_have_the_same_status(each: Each, docker: Docker, compared: Hyper) -> None:
    for client in each:
        pool = sdk.types.IPAMPool(subnet="10.94.8.0/24")
        client.create_network("there", ipam=sdk.types.IPAMConfig(pool_configs=[pool]))
    words = ("create", "--name", "idle", "--network", "there", "-v", "used:/data", REFERENCE, "true")
    assert docker(*words).returncode == 0
    compared(*words)
    try:
        wrong = []
        for name, (ask, worded) in REFUSALS.items():
            theirs, ours = (refusal(ask, client) for client in each)
            if name in ONLY_HERE:
                assert (theirs[0], ours[0]) == (200, ONLY_HERE[name]), name
            elif (theirs if worded else theirs[0]) != (ours if worded else ours[0]):
                wrong.append(f"{name}: {theirs}, {ours}")
        assert not wrong, "\n" + "\n".join(wrong)
    finally:
        docker("rm", "idle")
        compared("rm", "idle")
