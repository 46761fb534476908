"""What networks leave on the host: nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import busybox_image
from hyper import hyper as hyper_context
from hypercontainer.network.uplink import HostLink

BUSYBOX = busybox_image.REFERENCE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="bridges want root")


def test_nothing_is_left_when_the_last_hyperd_has_ended(hypervisor: str) -> None:
    with hyper_context(hypervisor=hypervisor) as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        made("run", "--rm", "-p", "127.0.0.1::80", BUSYBOX, "true")
        mark = HostLink(str(made.run_dir / "networks")).mark
        assert _marked(mark) == {f"hyp-{mark}", f"table inet hyper_{mark}"}
    assert _marked(mark) == set()


def _marked(mark: str) -> set[str]:
    """Interfaces and tables of the host that are one hyperd's: others' come and go meanwhile."""
    links = [path.name for path in Path("/sys/class/net").iterdir()]
    rules = subprocess.run(["nft", "list", "tables"], capture_output=True, check=True).stdout.decode()
    return {line for line in (*links, *rules.splitlines()) if mark in line}
