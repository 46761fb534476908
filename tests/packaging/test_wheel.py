"""The wheel on a machine that has nothing: no QEMU, no KVM, no compiler, no tool for file systems, no root."""

from __future__ import annotations

import re
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

import busybox_image
import dockerd
import suites
import wheel as packaging
from bare_machine import NO_NAMESPACES, UID, BareMachine, bare_machine, dockers_filter
from hypercontainer.errors import Unavailable
from hypercontainer.kernel import KernelStore, cache_dir
from passing import of_user
from soak import rounds
from until import until

pytestmark = pytest.mark.vm
PACKAGE = "env/lib/python3*/site-packages/hypercontainer"
# From the wheel to a container, and to what it has kept.
INSIDE = """\
python3 -m venv env; env/bin/pip install -q --no-index --find-links /mnt hypercontainer
env/bin/hyper load < /image.tar
env/bin/hyper run --rm localhost/busybox sh -c 'uname -sr; ip address show eth0'
env/bin/hyper info
env/bin/hyper run -d --name one -v kept:/kept localhost/busybox sleep 1000
env/bin/hyper exec one sh -c 'echo kept > /kept/file'
env/bin/hyper rm -f one
env/bin/hyper run --rm -v kept:/kept localhost/busybox cat /kept/file
"""
# What a terminal's user types, and sees.
TERMINAL = """\
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv("env/bin/hyper", ["hyper", "run", "--rm", "-it", "localhost/busybox", "sh"])
os.write(terminal, b"tty; echo said $((6 * 7)); exit 3\\n")
seen = b""
try:
    while part := os.read(terminal, 4096):
        seen += part
except OSError:
    pass
print(seen.decode(), "status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        KernelStore(cache_dir()).program()
    except Unavailable as error:
        pytest.skip(str(error))
    try:
        suites.fetch_source(*packaging.source_of(packaging.SLIRP), packaging.suite())
    except suites.Missing as error:
        pytest.skip(f"libslirp's source cannot be had: {error}")
    return packaging.made(tmp_path_factory.mktemp("dist"))


@dataclass(frozen=True)
class Installed:
    machine: BareMachine
    first: str
    took_s: float


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Iterator[Installed]:
    with bare_machine(wheel) as machine:
        (machine.home / "image.tar").write_bytes(busybox_image.archive([busybox_image.layer()]))
        started = time.monotonic()
        first = machine.sh(
            "python3 -m venv env; env/bin/pip install -q --no-index --find-links /mnt hypercontainer;"
            "env/bin/hyper load < image.tar; env/bin/hyper run --rm localhost/busybox uname -a"
        )
        yield Installed(machine, first, time.monotonic() - started)
        until(lambda: not of_user(UID), "everything to end with its container")


def test_from_the_wheel_to_a_container(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = KernelStore(cache_dir()).program()
    assert installed.first.splitlines()[-1].startswith("Linux ")
    assert kernel.version in installed.first
    with capsys.disabled():
        print(f"\nfrom the wheel's file to the container's first output: {installed.took_s:.1f} s")


def test_nothing_that_it_could_have_leant_on_is_there(installed: Installed) -> None:
    tools = "mke2fs qemu-system-x86_64 gcc virtiofsd newuidmap ip iptables bwrap"
    said = installed.machine.sh(f"id -u; ls /dev; for one in {tools}; do ! command -v $one; done")
    assert said.split()[0] == str(UID)
    assert "kvm" not in said.split()


def test_a_terminal(installed: Installed) -> None:
    (installed.machine.home / "terminal.py").write_text(TERMINAL)
    said = installed.machine.sh("python3 terminal.py")
    assert "/dev/pts/0" in said
    assert "said 42" in said
    assert said.rstrip().endswith("status 3")


@pytest.mark.parametrize("container", ["plain", "without namespaces", "docker's filter"])
def test_in_containers_that_allow_less_and_less(installed: Installed, container: str) -> None:
    """One after the other: what was found out in one that allows namespaces does not hold in the next."""
    said = installed.machine.sh(
        "env/bin/hyper run --rm -v kept:/kept localhost/busybox sh -c 'hostname; ip address show eth0';"
        "env/bin/hyper info",
        NO_NAMESPACES if container == "without namespaces" else (),
        seccomp=dockers_filter() if container == "docker's filter" else b"",
    )
    assert "inet 10.0.2.15/24" in said
    (confinement,) = re.findall(r"^Confinement: (.*)$", said, re.MULTILINE)
    assert "system calls" in confinement
    assert ("namespaces" in confinement) == (container == "plain")


@pytest.mark.parametrize("engine", [dockerd.dockerd, dockerd.podman][: rounds(short=1, soak=2)])
def test_in_a_container_of_another_engine_as_an_ordinary_user(
    installed: Installed, engine: Callable[[], AbstractContextManager[dockerd.Docker]]
) -> None:
    """With that engine's own filter, capabilities, namespaces and file systems, as they come."""
    machine = installed.machine
    packed = subprocess.run(["tar", "-C", machine.root, "-c", "."], capture_output=True, check=True)
    places = [f"{machine.wheels}:/mnt:ro", f"{machine.home}/image.tar:/image.tar:ro"]
    try:
        with engine() as made:
            imported = made("import", "-", "bare", stdin=packed.stdout)
            assert imported.returncode == 0, imported.stderr
            user = ["--user", f"{UID}:{UID}", "--network", "none", "--env", "HOME=/tmp", "--workdir", "/tmp"]
            command = [*made.options, "--rm", *user, *(f"--volume={place}" for place in places)]
            done = made("run", *command, "bare", "sh", "-ec", INSIDE)
    except dockerd.Absent as absent:
        pytest.skip(str(absent))
    said = done.stdout.decode()
    assert done.returncode == 0, said + done.stderr.decode()
    assert f"Linux {KernelStore(cache_dir()).program().version}" in said
    assert "inet 10.0.2.15/24" in said
    assert "Hypervisor: uml" in said
    assert said.rstrip().endswith("kept")


def test_no_program_of_the_machine_is_run(installed: Installed) -> None:
    said = installed.machine.sh("PATH=/nowhere; env/bin/hyper run --rm localhost/busybox echo all is inside")
    assert said == "all is inside\n"


def test_what_is_missing_is_named_with_what_it_would_bring(installed: Installed) -> None:
    said = installed.machine.sh("env/bin/hyper doctor")
    assert re.search(r"QEMU: .*without it there is no KVM, no template", said)
    assert "apt-get install qemu-system-x86" in said
    assert "✓ User Mode Linux" in said
    assert "directories of the host cannot be shared: there is no virtiofsd" in said
    assert "✗" not in said
    refused = installed.machine.sh(
        "mkdir -p shared; ! env/bin/hyper run --rm -v /home/shared:/x localhost/busybox true"
    )
    assert "QEMU" in refused


def test_programs_that_lost_the_right_to_be_run(installed: Installed) -> None:
    programs = f"{PACKAGE}/_native/* {PACKAGE}/_guest/uml/linux"
    said = installed.machine.sh(f"chmod a-x {programs}; env/bin/hyper run --rm localhost/busybox echo mended")
    assert said == "mended\n"


def test_what_is_inside(wheel: Path) -> None:
    assert re.fullmatch(r"hypercontainer-[\d.]+-py3-none-manylinux_2_17_x86_64\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as opened:
        names = {name.partition("/")[2]: name for name in opened.namelist()}
        sources = opened.read(names["licenses/licences/SOURCES.md"]).decode()
        metadata = opened.read(names["METADATA"]).decode()
        programs = (
            "_native/jail",
            "_native/netns",
            "_native/sharefs",
            "_native/usernet",
            "_guest/hyperstart",
            "_guest/hyperstart-arm64",
            "_guest/hyperstart-riscv64",
            "_guest/hyperstart-ppc64le",
            "_guest/hyperstart-s390x",
            "_guest/uml/linux",
        )
        assert all(opened.getinfo(names[name]).external_attr >> 16 & 0o111 for name in programs)
    rows = [
        line.split(" | ") for line in sources.splitlines() if line.startswith("| ") and "---" not in line
    ][1:]
    assert {part for row in rows for part in row[0].strip("| ").split(", ")} == {
        "hyperstart",
        "hyperstart-arm64",
        "hyperstart-riscv64",
        "hyperstart-ppc64le",
        "hyperstart-s390x",
        "jail",
        "netns",
        "sharefs",
        "usernet",
        "uml/linux",
    }
    for text in {text for row in rows for text in row[4].strip(" |").split(", ")}:
        assert f"licenses/licences/{text}" in names
    licence = re.findall(r"^License-Expression: (.*)$", metadata, re.MULTILINE)[0]
    assert all(row[2] in licence for row in rows)
    assert any(name.startswith("_guest/uml/source/patches/um/") for name in names)
    assert "_guest/uml/source/build.py" in names
