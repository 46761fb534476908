"""Networks of CNI by the real plugins, and pods in them that are no VMs.

What plugins change of a host they change of the one that the test's thread is in (`private_host`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import suites
from hypercontainer.contract.networks import Subnet
from hypercontainer.linux import netns
from hypercontainer.linux.netns import Namespace
from hypercontainer.network.cni import config, wiring
from hypercontainer.network.cni.chain import Chain
from hypercontainer.network.cni.config import VERSIONS, NetworkConfig, Tree
from hypercontainer.network.cni.device import Device
from hypercontainer.network.cni.requests import Attached
from hypercontainer.network.parts import Bridge, Place
from pod_by_hand import Pod

PLUGINS = Path("/usr/lib/cni")  # Debian's
INTERFACE, TAP = "eth0", "t-cni"
SUBNET, GATEWAY = "10.77.0.0/24", "10.77.0.1"


@dataclass(frozen=True)
class Stage:
    """``folder`` has configurations, plugins of the test's own, and what host-local keeps."""

    folder: Path
    directories: tuple[Path, ...] = (PLUGINS,)

    @property
    def files(self) -> Path:
        return self.folder / "net.d"

    @property
    def own(self) -> Path:
        return self.folder / "bin"

    def ipam(self, subnet: str = SUBNET, **more: Any) -> Tree:
        """host-local."""
        routes = [{"dst": "0.0.0.0/0"}]
        kept = str(self.folder / "leases")
        return {
            "type": "host-local",
            "dataDir": kept,
            "ranges": [[{"subnet": subnet}]],
            "routes": routes,
            **more,
        }

    def bridge(self, name: str = "cni-test0", **more: Any) -> Tree:
        return {"type": "bridge", "bridge": name, "isGateway": True, "ipam": self.ipam(), **more}

    def leases(self, name: str = "net") -> set[str]:
        """Addresses that host-local has given."""
        folder = self.folder / "leases" / name
        return (
            {path.name for path in folder.glob("*.*.*.*") if path.name[0].isdigit()}
            if folder.exists()
            else set()
        )

    def write(self, *plugins: Tree, name: str = "net", version: str = "1.0.0", **more: Any) -> Path:
        self.files.mkdir(exist_ok=True, parents=True)
        path = self.files / f"{name}.conflist"
        path.write_text(json.dumps({"cniVersion": version, "name": name, **more, "plugins": plugins}))
        return path

    def chain(self, *plugins: Tree, **more: Any) -> Chain:
        path = self.write(*plugins, **more)
        return Chain(config.parse(path.read_bytes(), str(path)), (self.own, *self.directories))

    def program(self, name: str, script: str, versions: Sequence[str] = VERSIONS) -> Tree:
        """A plugin of the test's own: a shell's script, to which `log` is a file, and which says what it speaks."""
        spoken = json.dumps({"cniVersion": versions[-1], "supportedVersions": versions})
        script = f"[ $CNI_COMMAND != VERSION ] || {{ echo '{spoken}'; exit 0; }}\n{script}"
        self.own.mkdir(exist_ok=True, parents=True)
        path = self.own / name
        path.write_text(f"#!/bin/sh\nlog={self.folder}/{name}.log\n{script}\n")
        path.chmod(0o755)
        return {"type": name}

    def said(self, name: str) -> list[str]:
        path = self.folder / f"{name}.log"
        return path.read_text().splitlines() if path.exists() else []


@dataclass
class PodByPlugins:
    """In a namespace of its own; ``attached`` by plugins from ``add`` on."""

    chain: Chain
    namespace: Namespace
    attached: Attached
    result: Tree = field(default_factory=dict)

    def add(self) -> Device:
        self.result = asyncio.run(self.chain.add(self.attached))
        found = wiring.seen(self.namespace, INTERFACE, "test")
        assert found is not None
        return found

    def check(self) -> None:
        asyncio.run(self.chain.check(self.attached, self.result))

    def delete(self, *, gone: bool = False) -> None:
        """``gone``: the namespace is."""
        known = self.attached if not gone else self.without_namespace()
        asyncio.run(self.chain.delete(known, self.result or None))

    def without_namespace(self) -> Attached:
        each = self.attached
        return Attached(each.container, each.interface, "", each.capabilities, each.arguments)

    @contextlib.contextmanager
    def plugged(self, device: Device, gateway: str = GATEWAY, tap: str = TAP) -> Iterator[Pod]:
        """Speaks at a tap device that is joined to its interface."""
        fd = netns.tap(self.namespace.control, tap)
        address, _, prefix = device.address(4).partition("/")
        bridge = Bridge("ee" * 32, (Subnet(f"{gateway}/{prefix}", gateway),), device.mtu)
        pod = Pod(fd, self.namespace.control, Place(tap, bridge, device.mac, (address,)), device.mac, address)
        with contextlib.closing(pod):
            wiring.join(self.namespace, INTERFACE, tap, device.mtu, "test")
            yield pod


@contextlib.contextmanager
def pod(
    chain: Chain,
    folder: Path,
    *,
    container: str = "pod-1",
    arguments: Mapping[str, str] | None = None,
    **capabilities: Any,
) -> Iterator[PodByPlugins]:
    namespace = Namespace.start(folder, user=False)
    try:
        path = f"/proc/{namespace.pid}/ns/net"
        yield PodByPlugins(
            chain, namespace, Attached(container, INTERFACE, path, capabilities, dict(arguments or {}))
        )
    finally:
        namespace.end()


def parsed(**tree: Any) -> NetworkConfig:
    return config.parse(json.dumps(tree).encode(), "file")


def unpacked(folder: Path) -> Path:
    """The newest plugins that Debian has, in whichever suite: where they lie.  Skips the test where they are not to be
    had, or are no newer than the machine's own: these have no STATUS and no GC."""
    try:
        found = suites.fetch("containernetworking-plugins", ("trixie", "sid"))
    except suites.Missing as error:
        pytest.skip(f"no newer plugins of CNI: {error}")
    subprocess.run(["dpkg", "-x", found.path, folder], check=True)
    answer = subprocess.run(
        [folder / "usr/lib/cni/bridge"],
        env={"CNI_COMMAND": "VERSION"},
        input=b"{}",
        capture_output=True,
        check=True,
    )
    if "1.1.0" not in json.loads(answer.stdout)["supportedVersions"]:
        pytest.skip(f"{found.name} {found.version} of {found.suite} does not speak CNI 1.1.0")
    return folder / "usr/lib/cni"
