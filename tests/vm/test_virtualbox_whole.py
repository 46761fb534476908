"""The whole way on VirtualBox, by its software alone: from an image to an answer from its container, and a hyperd that
is killed meanwhile.  A kernel takes minutes there, so `make soak` has it; the driver's tests are in tests/contract."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
import virtualbox_bed
from audit import kill_process
from free_port import free_port
from hyper import hyper
from soak import rounds
from virtualbox_bed import VirtualBoxBed

STARTED_S = 1800.0
CONFIG = """
[machine]
boot_timeout_s = 1700
[hypervisor.virtualbox]
manage = "{manage}"
home = "{home}"
display = "{display}"
driverless = true
"""


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[VirtualBoxBed]:
    with virtualbox_bed.standing(tmp_path / "vb") as one:
        yield one


@pytest.mark.skipif(not rounds(short=0, soak=1), reason="only in make soak: a kernel takes minutes")
@pytest.mark.timeout(3600)
def test_a_container_runs_is_found_again_and_answers(bed: VirtualBoxBed, tmp_path: Path) -> None:
    archive, port = tmp_path / "busybox.tar", free_port()
    archive.write_bytes(busybox_image.archive([busybox_image.layer()]))
    had = bed.installation
    config = CONFIG.format(manage=had.manage, home=had.home, display=had.display)
    with hyper(config, hypervisor="virtualbox") as one:
        one.load(archive)
        started = time.monotonic()
        serve = "echo from VirtualBox > /index.html; httpd -p 80 -h / && echo listening; exec sleep 1000000"
        published = ("-p", f"127.0.0.1:{port}:80")
        words = (*published, busybox_image.REFERENCE, "sh", "-c", serve)
        one("run", "-d", "--name", "web", *words, timeout_s=STARTED_S)
        print(f"started after {time.monotonic() - started:.0f} s")
        one.wait_for_log("web", b"listening")
        assert "hyper-" in bed.manage("list", "runningvms")
        assert answer(port) == b"from VirtualBox\n"
        pid = one.vm_pid("web")
        assert kill_process(one.daemon_pid())
        assert one.out("exec", "web", "cat", "/index.html", timeout_s=300) == "from VirtualBox"
        assert one.vm_pid("web") == pid
        assert answer(port) == b"from VirtualBox\n"
        one("rm", "-f", "web", timeout_s=300)
        assert not bed.manage("list", "vms")


def answer(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/index.html", timeout=120) as response:
        return bytes(response.read())
