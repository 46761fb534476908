"""What a Mac would get of this, under a platform that is faked: the client's half, and how QEMU would be told.

No Mac has run any of it; docs/macos.md says so.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import as_darwin
from hypercontainer.daemon.main import main
from hypercontainer.hypervisor.qemu.argv import common_argv
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.linux import resolving, unix
from hypercontainer.linux.architectures import AMD64, ARM64

# All that a user's side is made of.
CLIENTS = "contract config client sdk cli kube podfile errors".split()
QEMU = Binary(
    Path("/opt/qemu"), "", "9.1.0", frozenset({Accelerator.HVF, Accelerator.TCG}), False, True, False
)


def test_the_clients_half_is_imported_without_linux() -> None:
    names = [f"hypercontainer.{name}" for name in CLIENTS]
    run = subprocess.run(
        [sys.executable, as_darwin.__file__, *names], capture_output=True, text=True, timeout=120
    )
    assert (run.stdout, run.returncode) == ("", 0), run.stderr


def test_hyperd_says_where_it_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main([]) == 1
    assert "it runs on Linux alone, and this is darwin" in capsys.readouterr().err


@pytest.mark.parametrize(("architecture", "machine"), [(AMD64, "q35"), (ARM64, "virt")])
def test_qemu_with_hvf(architecture: str, machine: str) -> None:
    argv = common_argv(replace(QEMU, architecture=architecture), Accelerator.HVF)
    assert argv[argv.index("-accel") + 1] == "hvf"
    assert argv[argv.index("-cpu") + 1] == "host"
    assert argv[argv.index("-machine") + 1].startswith(f"{machine},")
    assert "-sandbox" not in argv  # which is Linux's


def test_a_sockets_path_is_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There it is what it is; a longer one is refused by its name, and not cut off."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.chdir(tmp_path)
    with unix.listen(Path("a.sock")), unix.connect(Path("a.sock")):
        pass
    for act in (unix.listen, unix.connect):
        with pytest.raises(OSError, match="more than 103 bytes"):
            act(tmp_path / ("x" * 104))


def test_what_linux_alone_has_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of openat2 is another call's there."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OSError, match="not implemented"):
        resolving.open_resolved(0, "x", 0, 0)
