"""The least that a clone costs: bare QEMU, restored from a template, whose init mounts two disks and runs `true`.

The same machine, kernel and devices as the floor of a cold run (bench.cold_run); the init of the template waits
for a line on a serial port before it mounts.  A shell script clones it, with nothing in it that is not needed: it
fills two FIFOs, one with QMP's commands and one with that line, and becomes QEMU, whose end is the end of the guest.
Nobody waits for an answer, and the guest goes on by itself as soon as its state is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import cold_run
from bench.measure import run

MEMORY = "size=128M,mem-path=ram.img"
TIMEOUT_S = 30.0
WAIT = """
    char line[4096];
    int port, made = inotify_init();
    if (inotify_add_watch(made, "/d", IN_CREATE) < 0) failed = 1;
    while (!failed && (port = open("/d/vport0p1", O_RDWR)) < 0) failed |= read(made, line, sizeof line) <= 0;
    failed |= write(port, "ready\\n", 6) != 6 || read(port, line, sizeof line) <= 0;
"""
Question = tuple[str, dict[str, object]]


def _capability(name: str) -> Question:
    return "migrate-set-capabilities", {"capabilities": [{"capability": name, "state": True}]}


BEGIN: tuple[Question, ...] = (("qmp_capabilities", {}), _capability("x-ignore-shared"))
RESTORE: tuple[Question, ...] = (*BEGIN, ("migrate-incoming", {"uri": "fd:3"}))


@dataclass(frozen=True)
class BareClone:
    """``work`` holds the template and the disk of the next clone."""

    work: Path

    def fresh(self) -> None:
        cold_run.fresh_disk(self.work)

    def run(self) -> None:
        said = run(["sh", self.work / "clone.sh"], timeout_s=TIMEOUT_S)
        assert not said, said


@contextlib.contextmanager
def bare_clone(image: Path) -> Iterator[BareClone]:
    """Saves the template; ``image`` is the read-only disk of the clones."""
    with tempfile.TemporaryDirectory(prefix="hyper-bare-") as name:
        work = Path(name)
        writable = cold_run.fresh_disk(work)
        command = cold_run.bare_command(work, cold_run.MOUNT_AND_RUN.replace("/* WAIT */", WAIT))
        command[command.index("-machine") + 1] += ",memory-backend=ram"
        _save(work, command, _empty_disks(image, writable))
        (work / "clone.sh").write_text(_script(work, command, cold_run.disks(image, writable)))
        yield BareClone(work)


def _empty_disks(*disks: Path) -> list[str]:
    """Of the sizes that the clones' disks have, which is what the guest believes ever after."""
    argv = []
    for name, path, read_only in zip("ab", disks, ("on", "off"), strict=True):
        size = path.stat().st_size
        argv += ["-blockdev", f"null-co,node-name={name},size={size},read-zeroes=on,read-only={read_only}"]
        argv += ["-device", f"virtio-blk-pci,drive={name}"]
    return argv


def _port(chardev: str) -> list[str]:
    return ["-chardev", chardev, "-device", "virtserialport,chardev=agent,name=agent"]


def _more(control: str, share: str) -> list[str]:
    memory = ["-object", f"memory-backend-file,id=ram,{MEMORY},share={share}"]
    return [*memory, "-chardev", control, "-mon", "chardev=qmp,mode=control"]


def _save(work: Path, command: Sequence[str], disks: Sequence[str]) -> None:
    """Boots until the init waits and writes the state beside the memory.

    The guest runs on until its state is saved: so a clone runs, with no need to be told."""
    with contextlib.ExitStack() as stack:
        ends = [stack.enter_context(end) for _ in range(2) for end in socket.socketpair()]
        agent, agents, control, controls = ends
        for end in (agent, control):
            end.settimeout(TIMEOUT_S)
        devices = cold_run.devices(_port(f"socket,id=agent,fd={agents.fileno()}"))
        more = _more(f"socket,id=qmp,fd={controls.fileno()}", share="on")
        passed = (agents.fileno(), controls.fileno())
        template = subprocess.Popen([*command, *devices, *disks, *more], cwd=work, pass_fds=passed)
        stack.callback(template.wait)
        stack.callback(template.kill)
        assert agent.recv(16) == b"ready\n"
        qmp = stack.enter_context(control.makefile("rwb", buffering=0))
        for question in (*BEGIN, _capability("events")):
            _ask(qmp, question)
        _ask(qmp, ("migrate", {"uri": "exec:cat >state"}))
        while (status := _message(qmp).get("data", {}).get("status")) != "completed":
            assert status != "failed", "QEMU did not save the template"


def _script(work: Path, command: Sequence[str], disks: Sequence[str]) -> str:
    for name in ("agent", "qmp"):  # QEMU reads NAME.in and writes NAME.out
        os.mkfifo(work / f"{name}.in")
        (work / f"{name}.out").symlink_to("/dev/null")
    devices = cold_run.devices(_port("pipe,id=agent,path=agent"))
    argv = [*command, *devices, *disks, *_more("pipe,id=qmp,path=qmp", share="off"), "-incoming", "defer"]
    return "\n".join(
        (
            f"cd {shlex.quote(str(work))}",
            "exec 3<state 4<>qmp.in 5<>agent.in",
            *(f"echo {shlex.quote(_line(question))} >&4" for question in RESTORE),
            "echo go >&5",
            f"exec {shlex.join(argv)}",
            "",
        )
    )


def _line(question: Question) -> str:
    verb, arguments = question
    return json.dumps({"execute": verb, "arguments": arguments})


def _ask(qmp: socket.SocketIO, question: Question) -> None:
    qmp.write(f"{_line(question)}\n".encode())
    while "return" not in (answer := _message(qmp)):
        assert "error" not in answer, answer


def _message(qmp: socket.SocketIO) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(qmp.readline())
    return message
