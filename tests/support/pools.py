"""What a hyperd has made ahead, as tests look at it."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import busybox_image
from audit import names
from hyper import Hyper, processes_that_mention

POOL_OF_2 = "[factory]\ncache = 2\n"


def furnished(hyper: Hyper) -> Hyper:
    hyper("load", stdin=busybox_image.archive([busybox_image.layer()]))
    return hyper


def virtual_machines(hyper: Hyper, name: str) -> set[str]:
    """The run directories of VMs that hyperd has for itself: "ready" or "template"."""
    return {each for each in names(hyper.run_dir / "pods") if each.startswith(f"{name}-")}


def ready(hyper: Hyper) -> int:
    count: int = hyper.json("info", "--format", "json")["ReadyClones"]
    return count


def free_port(first: int, last: int) -> int:
    for port in range(first, last):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError(f"no port is free from {first} to {last}")


def started_as(hyper: Hyper, name: str) -> str:
    """How the container's VM came to be, a line for each of its starts."""
    container = hyper.inspect(name)["Id"]
    words = ("events", "--since", "5m", "--until", "0s", "--filter", f"container={container}")
    return hyper.out(*words, "--filter", "event=start", "--format", '{{index .Actor.Attributes "vm"}}')


def glob(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


def nothing_runs(hyper: Hyper) -> bool:
    return not names(hyper.run_dir / "pods") and not processes_that_mention(f"{hyper.base}/run/pods/")
