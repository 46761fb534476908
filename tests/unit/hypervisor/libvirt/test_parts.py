"""Settings, kernels that others can read, answers of QEMU by libvirt, and a libvirt that answers late or never."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.errors import (
    Conflict,
    HyperError,
    HypervisorError,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from hypercontainer.hypervisor.libvirt import boot_files, library
from hypercontainer.hypervisor.libvirt.library import Gone, Severed
from hypercontainer.hypervisor.libvirt.link import Link, Live
from hypercontainer.hypervisor.libvirt.monitor import Copies, _answer
from hypercontainer.hypervisor.libvirt.settings import SESSION, SYSTEM, read
from hypercontainer.hypervisor.qemu.qmp import QmpError

libvirt: Any = library.load()[0]


def test_settings() -> None:
    assert read({}).uri == (SYSTEM if os.geteuid() == 0 else SESSION)
    uri = "qemu+unix:///system?socket=/run/libvirt/libvirt-sock"
    asked = read({"uri": uri, "pool": "images", "network": "default", "range": "192.168.122.192/26"})
    assert (asked.uri, asked.pool, asked.network, asked.addresses) == (
        uri,
        "images",
        "default",
        "192.168.122.192/26",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("uri", "qemu+ssh://host/system"),
        ("uri", "xen:///system"),
        ("uri", 7),
        ("pool", "../x"),
        ("network", "a\nb"),
        ("addresses", "192.168.122.7/24"),
        ("machine", "pc"),
        ("other", 1),
    ],
)
def test_settings_that_are_none(key: str, value: object) -> None:
    with pytest.raises(InvalidArgument, match=key):
        read({key: value})


def test_a_kernel_that_others_cannot_read_is_copied_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(b"kernel")
    if os.geteuid() != 0:
        pytest.skip("only root's kernels are copied")
    folder = Path("/tmp") / f"boot-{os.getpid()}"
    try:
        copy = boot_files.readable(kernel, [tmp_path / "closed", folder])
        assert (copy.parent, copy.read_bytes(), copy.stat().st_mode & 0o777) == (folder, b"kernel", 0o444)
        assert boot_files.readable(kernel, [folder]) == copy
        assert boot_files.readable(copy, []) == copy
        unfinished, busy = (
            folder / ".new-one",
            folder / ".new-two",
        )  # of a hyperd's that was killed; of another's
        for path in (unfinished, busy):
            path.touch()
            os.utime(path, (0, 0))
        with busy.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.utime(busy, (0, 0))
            kernel.write_bytes(b"kernels")
            boot_files.readable(kernel, [folder])
        assert busy.exists() and not unfinished.exists()
        busy.unlink()
        for number in range(30):
            kernel.write_bytes(b"another" * number)
            os.utime(kernel, ns=(number, number))
            boot_files.readable(kernel, [folder])
        assert len(list(folder.iterdir())) <= boot_files.MAX_KEPT
        with pytest.raises(Unavailable, match="pool"):
            boot_files.readable(kernel, [tmp_path / "closed"])
    finally:
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's kernels are copied")
@pytest.mark.parametrize(("taken", "size"), [(0, 180_000), (64 << 10, 1000)])  # on the way, and at its end
def test_a_pool_without_room_says_so_and_keeps_no_part(tmp_path: Path, taken: int, size: int) -> None:
    tmp_path.chmod(0o700)
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(b"k" * size)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=711", "none", folder], check=True)
        others = folder / "others"
        try:
            others.write_bytes(b"." * taken)
            with pytest.raises(Unavailable, match=rf"vmlinux cannot be copied to {folder}.*No space left"):
                boot_files.readable(kernel, [folder])
            assert list(folder.iterdir()) == [others]
        finally:
            subprocess.run(["umount", folder], check=True)


def test_what_qemu_says_by_libvirt() -> None:
    assert _answer("query-status", '{"return":{"status":"running"},"id":"libvirt-7"}') == {
        "status": "running"
    }
    with pytest.raises(QmpError, match="no such node") as caught:
        _answer("blockdev-del", '{"id":"libvirt-8","error":{"class":"GenericError","desc":"no such node"}}')
    assert caught.value.kind == "GenericError"
    for said in (
        "",
        "[]",
        "{}",
        '{"event":"STOP"}',
        '{"return":1',
        "[" * 100_000,
        '"' + "x" * (5 << 20) + '"',
    ):
        with pytest.raises(HypervisorError, match=r"cannot be read|is none"):
            _answer("query-status", said)


def test_descriptors_are_lent_and_closed(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        copies = Copies([file.fileno()])
        with copies.lent() as (fd,):
            copies.close()
            assert os.fstat(fd)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
        copies.close()
        with pytest.raises(Severed), copies.lent():
            pass


class Error(Exception):
    def __init__(self, code: int, words: str = "words", domain: int = 0) -> None:
        self.get_error_code, self.get_error_message = lambda: code, lambda: words
        self.get_error_domain = lambda: domain


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Error(libvirt.VIR_ERR_NO_DOMAIN), Gone),
        (Error(libvirt.VIR_ERR_OPERATION_INVALID), Gone),
        (Error(libvirt.VIR_ERR_AUTH_FAILED), Unavailable),
        (Error(libvirt.VIR_ERR_NO_NETWORK), NotFound),
        (Error(libvirt.VIR_ERR_OPERATION_FAILED, "domain 'web' already exists with uuid x"), Conflict),
        (Error(libvirt.VIR_ERR_RPC), Severed),
        (Error(libvirt.VIR_ERR_SYSTEM_ERROR, "Failed to connect socket to '/x'"), Severed),
        (Error(libvirt.VIR_ERR_INTERNAL_ERROR), HypervisorError),
    ],
)
def test_errors_are_ours(error: Error, kind: type[HyperError]) -> None:
    found = library.said(libvirt, error, "create", SYSTEM)
    assert isinstance(found, kind)
    assert "create: libvirt says:" in found.message


def test_a_call_that_is_not_answered_is_given_up_and_bounded() -> None:
    async def main() -> None:
        link: Link[str] = Link(SYSTEM, lambda connection: "")
        link._live = Live("connection", "greeting", ())
        go = threading.Event()
        with pytest.raises(HypervisorError, match=r"sleeping: .* did not answer within 0\.05 s"):
            await link.call("sleeping", lambda connection: go.wait(30), timeout_s=0.05)
        assert await link.call("asking", lambda connection: connection) == "connection"
        assert await link.greeting() == "greeting"
        go.set()

    asyncio.run(main())


def test_nobody_is_there() -> None:
    async def main() -> None:
        link: Link[None] = Link("qemu+unix:///system?socket=/nowhere/libvirt-sock", lambda connection: None)
        with pytest.raises(Severed, match="/nowhere/libvirt-sock"):
            await link.greeting()
        await link.close()

    asyncio.run(main())
