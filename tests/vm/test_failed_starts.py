"""Every start that fails says why, with QEMU's words and the guest's, and leaves nothing."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import bare_kernel
import busybox_image
from audit import Audit, cgroups, kill_process, virtual_machines, vm_record
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from soak import rounds

BUSYBOX = busybox_image.REFERENCE
WAITS = 100
ON_QEMU = '[machine]\nhypervisor = "qemu"\n'


@pytest.fixture
def audited(hyper: Hyper) -> Iterator[Hyper]:
    audit = Audit(hyper)
    yield hyper
    audit.look()
    hyper.remove_all()
    audit.nothing()


def fails(hyper: Hyper, *words: str) -> str:
    """Runs it with and without --rm: status 125, nothing running, nothing half done; what was said, with evidence."""
    done = hyper("--debug", "run", "--rm", *words, BUSYBOX, "true", check=False)
    assert (done.returncode, done.stdout) == (125, b"")
    assert hyper.out("ps", "-aq") == ""
    kept = hyper("run", "--name", "kept", *words, BUSYBOX, "true", check=False)
    assert kept.returncode == 125
    assert len(kept.stderr.splitlines()) <= 4, kept.stderr  # neither a command line nor a kernel's registers
    left = hyper.out("ps", "-aq", "--no-trunc").split()
    assert cgroups(left) == set()
    for one in left:
        state = hyper.inspect(one)["State"]
        assert (state["Status"], state["Running"], state["Pid"]) == ("created", False, 0)
        assert state["Error"]
    assert virtual_machines(hyper.base) == set()
    hyper("rm", "-f", "kept")
    return done.stderr.decode()


def refused(hyper: Hyper, *words: str) -> str:
    """It is not even created; what was said."""
    done = hyper("run", *words, BUSYBOX, "true", check=False)
    assert (done.returncode, done.stdout, hyper.out("ps", "-aq")) == (125, b"", "")
    return done.stderr.decode()


def test_a_file_that_is_no_kernel(audited: Hyper, tmp_path: Path) -> None:
    garbage = tmp_path / "vmlinuz"
    garbage.write_bytes(random.Random(1).randbytes(1 << 20))
    assert f"kernel {garbage}: neither a bzImage nor an ELF file" in fails(audited, "--kernel", str(garbage))
    garbage.write_bytes(b"\x7fELF" + bytes(1 << 20))
    assert f"kernel {garbage}: not a 64-bit ELF" in fails(audited, "--kernel", str(garbage))
    assert "kernel /nonexistent/vmlinux: there is no such file" in refused(
        audited, "--kernel", "/nonexistent/vmlinux"
    )
    assert "no kernel called nosuch" in fails(audited, "--kernel", "nosuch")


def test_a_kernel_that_panics(audited: Hyper) -> None:
    said = fails(audited, "--kernel-args", "rdinit=/nosuch")
    assert "its VM did not start: the guest's kernel panicked or rebooted" in said
    assert "last lines of the guest's console:" in said
    assert "Kernel panic - not syncing" in said
    assert "Kernel panic - not syncing" in audited.log()


def test_an_initrd_that_is_none(audited: Hyper, tmp_path: Path) -> None:
    garbage = tmp_path / "initrd"
    garbage.write_bytes(random.Random(2).randbytes(1 << 20))
    said = fails(audited, "--initrd", str(garbage))
    assert "Initramfs unpacking failed" in said
    assert "Kernel panic" in said
    assert "initrd /nonexistent: there is no such file" in refused(audited, "--initrd", "/nonexistent")


def test_memory(audited: Hyper) -> None:
    much = audited("run", "--rm", "-m", "1t", BUSYBOX, "true", check=False)
    assert (much.returncode, much.stdout) == (125, b"")
    assert b"memory of 1048576 MiB is more than this machine has\n  hint: at most " in much.stderr
    refused = audited("run", "--rm", "-m", "8m", BUSYBOX, "true", check=False)
    assert refused.returncode == 125
    least = refused.stderr.decode().partition("at least ")[2].strip()
    assert audited.out("run", "--rm", "-m", least, BUSYBOX, "echo", "little") == "little"


def test_a_port_that_is_taken(audited: Hyper) -> None:
    audited("run", "-d", "--name", "first", "-p", "127.0.0.1::80", BUSYBOX, "sleep", "1000")
    port = audited.out("port", "first", "80").rpartition(":")[2]
    second = audited("run", "--name", "second", "-p", f"127.0.0.1:{port}:80", BUSYBOX, "true", check=False)
    assert second.returncode == 125
    assert f"port 127.0.0.1:{port}/tcp is already allocated".encode() in second.stderr
    audited("rm", "-f", "first")
    audited("start", "-a", "second")


def test_no_qemu() -> None:
    with hyper_context(f'{NO_POOL}[machine]\nqemu = "/nonexistent/qemu"\n') as hyper:
        hyper("load", stdin=busybox_image.archive([busybox_image.layer()]))
        said = fails(hyper)
        assert "no /nonexistent/qemu in PATH" in said
        assert "install QEMU" in said
        assert "/nonexistent/qemu" in hyper("doctor", check=False).stdout.decode()
        false = hyper.base / "qemu"
        false.write_text("#!/bin/sh\necho no such machine >&2\nexit 3\n")
        false.chmod(0o755)
        configure(hyper, f'{NO_POOL}{ON_QEMU}qemu = "{false}"\n')
        assert "does not say which QEMU it is" in fails(hyper)
        configure(hyper, f"{NO_POOL}{ON_QEMU}")
        assert hyper.out("run", "--rm", BUSYBOX, "echo", "mended") == "mended"


def configure(hyper: Hyper, text: str) -> None:
    """For the next hyperd."""
    (hyper.base / "config.toml").write_text(text)
    hyper("system", "stop")


def test_a_guest_that_hangs(tmp_path: Path) -> None:
    kernel = bare_kernel.write(tmp_path / "kernel", b"here I stand\r\n")
    with hyper_context(f"{NO_POOL}[machine]\nboot_timeout_s = 2\n") as hyper:
        hyper("load", stdin=busybox_image.archive([busybox_image.layer()]))
        said = fails(hyper, "--kernel", str(kernel), "--accel", "tcg")
        assert "did not answer within 2 s" in said
        assert "here I stand" in said.partition("last lines of the guest's console:")[2]


@pytest.mark.parametrize("verb", [("rm", "-f"), ("stop",), ("kill",)])
def test_a_guest_that_hangs_can_be_ended(audited: Hyper, tmp_path: Path, verb: tuple[str, ...]) -> None:
    kernel = bare_kernel.write(tmp_path / "kernel", b"here I stand\r\n")
    identifier = audited.out(
        "create", "--name", "c", "--kernel", str(kernel), "--accel", "tcg", BUSYBOX, "true"
    )
    with audited.popen("start", "c", stderr=subprocess.PIPE) as starting:
        vm_record(audited, identifier)
        audited(*verb, "c", timeout_s=30)  # long before the boot's deadline
        assert starting.wait(30) != 0
    assert virtual_machines(audited.base) == set()


def test_qemu_killed_in_mid_boot(audited: Hyper) -> None:
    rng = random.Random(20)
    script = ("sh", "-c", "echo ran; sleep 1000")
    identifier = audited.out("create", "--name", "c", "--no-template", BUSYBOX, *script)
    for _ in range(rounds(short=4, soak=60)):
        with audited.popen("start", "c", stderr=subprocess.PIPE) as starting:
            pid = vm_record(audited, identifier)["pid"]
            time.sleep(rng.uniform(0, 1.5))  # some moment, seeded; every one has to do
            kill_process(pid)
            status = starting.wait(WAITS)
            assert starting.stderr is not None
            said = starting.stderr.read()
        state = audited.json("inspect", "c")[0]["State"]
        if status == 0:  # it ran already
            assert audited.out("wait", "c") == "255"
        else:
            assert b"c" in said
            assert state["Error"]
            assert state["Status"] in ("created", "exited")
        assert virtual_machines(audited.base) == set()
        audited("start", "c")
        audited("stop", "-t", "0", "c")


def test_a_client_killed_in_mid_boot_takes_its_start_back(audited: Hyper) -> None:
    file = audited.base / "cid"
    for keep in (True, False):
        words = ("--name", "c") if keep else ("--rm",)
        file.unlink(missing_ok=True)
        with audited.popen("run", *words, "--cidfile", str(file), BUSYBOX, "sleep", "1000") as client:
            while not (file.exists() and file.read_text()):
                time.sleep(0.005)
            identifier = file.read_text()
            vm_record(audited, identifier)
            client.kill()
        condition = () if keep else ("--condition", "removed")
        audited("wait", *condition, identifier, check=False)  # until hyperd has noticed
        assert virtual_machines(audited.base) == set()
    file.unlink()
    assert audited.out("ps", "-a", "--format", "{{.Names}} {{.State}}") == "c created"
    audited("start", "c")
    assert audited.out("ps", "--format", "{{.Names}}") == "c"


def test_a_client_killed_in_mid_run_leaves_it_running(audited: Hyper) -> None:
    with audited.popen(
        "run", "--rm", "--name", "c", BUSYBOX, "sh", "-c", "echo up; sleep 1000", stdout=-1
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        client.kill()
    assert audited.out("exec", "c", "echo", "still") == "still"
    audited("stop", "-t", "0", "c")
    assert audited.out("ps", "-aq") == ""
