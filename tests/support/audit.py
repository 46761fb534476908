"""What a hyperd says, held against what there is: processes, directories, cgroups; and ways to kill it.

The hyperd keeps no VMs ready (``hyper.NO_POOL``); those that it makes templates of are none of a container's.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hyper import MAKING, Hyper, processes_that_mention
from passing import groups, listed

DEADLINE_S = 60.0
STEP_S = 0.005


class Audit:
    """Remembers every container that it has seen, so that their cgroups can be looked for afterwards."""

    def __init__(self, hyper: Hyper) -> None:
        self._hyper = hyper
        self._seen: set[str] = set()

    def containers(self) -> dict[str, Any]:
        """By ID, what `inspect` says of every container."""
        identifiers = self._hyper.out("ps", "-aq", "--no-trunc").split()
        found = self._hyper.json("inspect", *identifiers) if identifiers else []
        self._seen.update(identifiers)
        return {one["Id"]: one for one in found}

    def look(self) -> None:
        """Notes the containers that there are on disk, whether or not a hyperd runs."""
        self._seen.update(names(self._hyper.root / "containers"), pods(self._hyper))

    def check(self) -> dict[str, Any]:
        """Whole or truthfully reported: what runs has a VM, which answers; nothing else has anything."""
        self.look()
        known = self.containers()
        running = {key for key, one in known.items() if one["State"]["Running"]}
        pids = {one["State"]["Pid"] for key, one in known.items() if key in running}
        others = [key for key, one in known.items() if key not in running and one["State"]["Pid"]]
        assert not others, f"not running, but with a VM: {others}"
        assert self.machines() == pids, f"{self.machines()} run, and {pids} are told"
        assert pods(self._hyper) == {key[:12] for key in running}
        assert names(self._hyper.root / "containers") == set(known)
        assert cgroups(self._seen) == cgroups(running)
        for key in running:
            assert self._hyper.out("exec", key, "echo", "whole") == "whole", known[key]
        return known

    def machines(self) -> set[int]:
        """The processes of VMs that there are."""
        return virtual_machines(self._hyper.base)

    def nothing(self) -> None:
        """No container, and nothing left of any."""
        assert self.check() == {}


def names(directory: Path) -> set[str]:
    return set(listed(directory))


BESIDE = ("_native/usernet ", "[uml-userspace]")


def virtual_machines(base: Path) -> set[int]:
    """Every process of a container's VM below ``base``, by its working directory: hypervisors, and launchers at their
    gate; but of User Mode Linux neither the network's process nor those of the guest."""
    found = [
        line
        for line in processes_that_mention(f"{base}/run/pods/")
        if f"{base}{MAKING}" not in line and not any(name in line for name in BESIDE)
    ]
    return {int(line.split()[0]) for line in found}


def pods(hyper: Hyper) -> set[str]:
    """The run directories of containers' VMs."""
    return {name for name in names(hyper.run_dir / "pods") if not name.startswith("template-")}


def cgroups(identifiers: Iterable[str]) -> set[Path]:
    wanted = {identifier[:12] for identifier in identifiers}
    return {path for path in groups() if path.name in wanted}


def vm_record(hyper: Hyper, identifier: str, deadline_s: float = DEADLINE_S) -> Any:
    """What hyperd has written down of a VM that is being started, once it has."""
    path = hyper.run_dir / "pods" / identifier[:12] / "vm.json"
    limit = time.monotonic() + deadline_s
    while not path.exists():
        assert time.monotonic() < limit, f"no VM was started for {identifier}"
        time.sleep(STEP_S)
    return json.loads(path.read_bytes())


def kill_process(pid: int) -> bool:
    """SIGKILL, and waits until it is dead; False where there is none."""
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        signal.pidfd_send_signal(held, signal.SIGKILL)
        assert select.select([held], [], [], DEADLINE_S)[0]
    except ProcessLookupError:
        return False
    finally:
        os.close(held)
    return True


def daemon_pid(hyper: Hyper) -> int:
    """Of the hyperd that runs, without asking it, so that none is started."""
    return int((hyper.run_dir / "hyperd.pid").read_text())
