"""`inspect` of containers, images and volumes has Docker's fields, of Docker's types, with Docker's values.

What differs stands here with its reason; a difference that is not here fails, as does one that is here no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import busybox_image
from pair import Pair

IMAGE = busybox_image.REFERENCE
A_NUMBER = "another one each time"
OWN = "Hyper's own"
NO_NETWORKS = "there is one network, which is the user's; its facts are known before the start"
DISKS = "layers and volumes are disks: no directory of the host holds them"
A_VM = "the kernel is the container's own: nothing of it is shared, and none of it need be hidden"
LOGS = "hyperd's logs have bounds"
ATTACHED = "who attaches says so when it starts"
APPLIES = "what applies is shown, not only what was said"

# "path: what differs" -> why.
OF_ANY_CONTAINER = {
    "Id: value": A_NUMBER,
    "Created: value": A_NUMBER,
    "LogPath: value": "the log is there from the beginning",
    "Driver: value": DISKS,
    "GraphDriver.Name: value": DISKS,
    "GraphDriver.Data: dict, not NoneType": DISKS,
    "HostConfig.LogConfig.Type: value": LOGS,
    "HostConfig.LogConfig.Config.max-file: more": LOGS,
    "HostConfig.LogConfig.Config.max-size: more": LOGS,
    "HostConfig.CgroupnsMode: value": "Docker's is the host's where cgroups are of version 1",
    "HostConfig.MaskedPaths: value": A_VM,
    "HostConfig.ReadonlyPaths: value": A_VM,
    "HostConfig.Runtime: value": OWN,
    "HostConfig.NetworkMode: value": NO_NETWORKS,
    "NetworkSettings.Networks.bridge.DNSNames: more": "of newer Dockers",
    "NetworkSettings.Networks.bridge.GwPriority: more": "of newer Dockers",
    "Config.AttachStdout: value": ATTACHED,
    "Config.AttachStderr: value": ATTACHED,
    "HostConfig.Umask: more": OWN,
    "State.Message: more": OWN,
    "Pod: more": OWN,
    "VM: more": OWN,
}
OF_A_PLAIN_CONTAINER = OF_ANY_CONTAINER | {
    "Config.Hostname: value": A_NUMBER,
    "Config.StopSignal: more": APPLIES,
    "Config.StopTimeout: more": APPLIES,
    "Config.WorkingDir: value": APPLIES,
}
OF_A_CONTAINER = OF_ANY_CONTAINER | {
    "Config.Env[0]: value": "the image's variables come first",
    "Config.Env[1]: value": "the image's variables come first",
    "HostConfig.MemorySwap: value": "a VM has no swap",
    "HostConfig.PortBindings.80/tcp[0].HostIp: value": APPLIES,
    "Mounts[0].Mode: value": "z is of SELinux, which the guest has not",
    "Mounts[0].Source: value": DISKS,
    "NetworkSettings.Ports.53/udp: more": NO_NETWORKS,
}
OF_AN_IMAGE = {
    "GraphDriver.Name: value": DISKS,
    "GraphDriver.Data: dict, not NoneType": DISKS,
    "Size: value": "of archives, not of what they hold",
    "VirtualSize: value": "of archives, not of what they hold",
    "Descriptor: more": "of newer Dockers",
}
OF_A_VOLUME = {
    "CreatedAt: value": A_NUMBER,
    "Mountpoint: value": DISKS,
    "Options.size: more": OWN,
    "UsageData: more": "Docker has it in system df",
    "Pods: more": OWN,
}

CONTAINER = (
    *(
        "create",
        "--name",
        "web",
        "-l",
        "a=b",
        "-e",
        "A=1",
        "--expose",
        "53/udp",
        "-p",
        "18080:80",
        "-w",
        "/tmp",
        "-u",
        "1000",
    ),
    *(
        "-v",
        "data:/data",
        "-v",
        "/etc:/host:ro",
        "--tmpfs",
        "/run:size=1m",
        "--ulimit",
        "nofile=10:20",
        "--restart",
    ),
    *(
        "on-failure:3",
        "--cap-add",
        "NET_ADMIN",
        "--cap-drop",
        "CHOWN",
        "--dns",
        "192.0.2.1",
        "--add-host",
        "a:192.0.2.2",
    ),
    *("--group-add", "audio", "-m", "256m", "--cpus", "1.5", "--pids-limit", "99", "--read-only", "--sysctl"),
    *("net.ipv4.ip_forward=1", "--stop-signal", "INT", "--stop-timeout", "7", "--hostname", "host", "--init"),
    *(IMAGE, "sleep", "100"),
)


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    """As "path: what"."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in [*theirs, *(name for name in ours if name not in theirs)]:
            below = f"{path}.{name}".lstrip(".")
            if name not in ours:
                yield f"{below}: missing"
            elif name not in theirs:
                yield f"{below}: more"
            else:
                yield from differences(theirs[name], ours[name], below)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif type(theirs) is not type(ours):
        yield f"{path}: {type(theirs).__name__}, not {type(ours).__name__}"
    elif theirs != ours:
        yield f"{path}: value"


def compare(theirs: Any, ours: Any, known: dict[str, str]) -> None:
    for document in (theirs, ours):  # Docker's have no order
        document.get("Metadata", {}).pop("LastTagTime", None)  # of another moment
        document.get("Mounts", []).sort(key=lambda mount: mount["Destination"])
        (document.get("HostConfig", {}).get("Binds") or []).sort()
    found = set(differences(theirs, ours))
    shown = [
        f"{line}: {at(theirs, line)!r:.60}, {at(ours, line)!r:.60}" for line in sorted(found - known.keys())
    ]
    assert not shown, "\n" + "\n".join(shown)
    assert known.keys() <= found, f"no differences any more: {known.keys() - found}"


def at(document: Any, line: str) -> Any:
    for name in line.partition(":")[0].replace("[", ".[").split("."):
        try:
            document = document[int(name[1:-1])] if name.startswith("[") else document[name]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def test_of_a_container(pair: Pair) -> None:
    pair.make("volume", "create", "data")
    pair.make(*CONTAINER)
    compare(*pair.documents("inspect", "web"), OF_A_CONTAINER)


def test_of_a_plain_container(pair: Pair) -> None:
    pair.make("create", "--name", "web", IMAGE)
    compare(*pair.documents("inspect", "web"), OF_A_PLAIN_CONTAINER)


def test_of_an_image(pair: Pair) -> None:
    compare(*pair.documents("image", "inspect", IMAGE), OF_AN_IMAGE)


def test_of_a_volume(pair: Pair) -> None:
    pair.make("volume", "create", "--label", "a=b", "data")
    compare(*pair.documents("volume", "inspect", "data"), OF_A_VOLUME)
