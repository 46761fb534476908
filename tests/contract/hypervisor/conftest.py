"""The drivers behind one harness, and the proof that a test leaves nothing behind: what tests of one driver begin with.

What every driver keeps is the suite's (``test_suite``).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harnesses import HARNESSES, LibvirtHarness, QemuHarness, UmlHarness
from hypercontainer.hypervisor import shares
from hypercontainer.hypervisor.spec import P9, VIRTIOFS, Accelerator
from hypercontainer.kernel import KernelStore, cache_dir, command_line
from hypercontainer.linux import netns, tsc
from hypercontainer.suite import running
from hypercontainer.suite.linux import initrd
from hypercontainer.suite.ports import free_port
from hypercontainer.suite.tap_space import TapSpace
from libvirt_bed import the_bed
from soak import rounds
from uml_kernel import uml_kernel

REAL = [pytest.param(name, marks=pytest.mark.vm) for name in ("qemu", "uml")]
Test = Callable[[Any], Awaitable[None]]


@pytest.fixture(autouse=True)
def _bed(request: pytest.FixtureRequest) -> None:
    """There before the first test that needs it, to which it is nothing that is left."""
    if "libvirt" in request.node.nodeid:
        the_bed()


@pytest.fixture
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """After the test: no process, descriptor, cgroup, run directory or temporary file more than before."""
    with running.nothing_left(tmp_path):
        yield


@pytest.fixture(params=REAL)
def run_real(request: pytest.FixtureRequest, tmp_path: Path, nothing_left: None) -> Callable[[Test], None]:
    """Runs a coroutine function with a harness, in a fresh event loop, and ends its VMs."""
    return partial(running.with_harness, HARNESSES[request.param], tmp_path)


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> Iterator[TapSpace]:
    """Where taps are."""
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces and taps here")
    with TapSpace() as one:
        monkeypatch.setattr(netns, "tap", one.tap)
        yield one


# Who serves shares how; where there is no virtiofsd, QEMU and its helper.
SHARING = (("qemu", VIRTIOFS), ("qemu", P9), ("uml", VIRTIOFS))


@pytest.fixture(params=SHARING, ids="-".join)
def run_sharing(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> Callable[[Test], None]:
    """The same for what only real servers of shares have, of each kind; ``harness.filesystem`` says which."""
    name, filesystem = request.param
    if filesystem == P9:
        monkeypatch.setattr(shares, "PROGRAM", "virtiofsd-of-nobody")

    def make(directory: Path, stack: AsyncExitStack) -> Any:
        harness: Any = HARNESSES[name](directory, stack)
        harness.filesystem = filesystem
        return harness

    return partial(running.with_harness, make, tmp_path)


@pytest.fixture
def run_qemu(tmp_path: Path, nothing_left: None) -> Callable[[Test], None]:
    """The same for what only real QEMU has."""
    return partial(running.with_harness, QemuHarness, tmp_path)


@pytest.fixture
def run_libvirt(tmp_path: Path, nothing_left: None) -> Callable[[Test], None]:
    """The same for what only libvirt has."""
    return partial(running.with_harness, LibvirtHarness, tmp_path, timeout_s=rounds(short=120, soak=600))


@pytest.fixture
def run_uml(tmp_path: Path, nothing_left: None) -> Callable[[Test], None]:
    """The same for what only User Mode Linux has."""
    return partial(running.with_harness, UmlHarness, tmp_path)


@pytest.fixture
def linux(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The changes to a specification that make its guest a Linux of our own, which runs a script and powers off."""
    kernels = KernelStore(cache_dir()).list()
    machine = next((one for one in kernels if one.source == "own" and not one.program), None)
    assert machine is not None, "there is no kernel of our own: run `make kernel`"

    def changes(script: str, accelerator: Accelerator = Accelerator.TCG) -> dict[str, Any]:
        native = accelerator is Accelerator.NATIVE
        own = uml_kernel() if native else machine
        khz = None if native else tsc.rate_khz()
        arguments = command_line(own, emulated=not native, console=True, extra=(), tsc_khz=khz)
        (tmp_path / "initrd").write_bytes(initrd(script))
        return {"kernel": own.path, "initrd": tmp_path / "initrd", "kernel_args": arguments, "memory_mib": 96}

    return changes


@pytest.fixture(name="free_port")
def _free_port() -> int:
    return free_port()
