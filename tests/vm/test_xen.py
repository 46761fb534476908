"""The driver of Xen with a real Xen: in a Debian dom0 nested in QEMU's emulation (tools/xen_bed.py).

What is asked there is in tests/support/xen_inside.py, and, of the suite of drivers, in tests/support/xen_contract.py.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import busybox_image
import xen_bed
import xen_letters
from hypercontainer.contract.devices import XEN
from hypercontainer.hypervisor.xen.config import Mode
from hypercontainer.kernel import KernelStore, build_initrd, cache_dir
from soak import rounds

pytestmark = pytest.mark.vm

TREE = Path(__file__).parents[2]
HYPERSTART = TREE / "src/hypercontainer/_guest/hyperstart"
# Of one test there: in two nested emulations, beside another test.
TEST_S = 5000.0
# Of the suite, in `make test`.
CASE = "an_adopted_vm_that_somebody_else_kills_has_crashed"


@pytest.fixture(scope="module")
def dom0(tmp_path_factory: pytest.TempPathFactory) -> Iterator[xen_bed.Dom0]:
    out = tmp_path_factory.mktemp("handed")
    kernel = KernelStore(cache_dir()).having(XEN)
    shutil.copytree(kernel.path.parent, out / "kernel" / kernel.path.parent.name)
    shutil.copy(kernel.path, out / "vmlinux")
    (out / "busybox.tar").write_bytes(busybox_image.archive([busybox_image.layer()]))
    xen_letters.build(out / "letters")
    shutil.copy(build_initrd(HYPERSTART, kernel, out / "made"), out / "initrd")
    with xen_bed.dom0(TREE, out) as machine:
        yield machine


def inside(dom0: xen_bed.Dom0, files: Sequence[str], tests: str = "", *environment: str) -> str:
    """What pytest says there; raises where a test fails."""
    paths = " ".join(f"tests/support/{name}.py" for name in files)
    said = dom0.sh(
        "[ -d /root/cache ] || { mkdir /root/cache; cp -r /mnt/out/kernel /root/cache; }; cd /mnt/tree && "
        "env HYPER_CACHE=/root/cache PYTHONPATH=src:tests/support PYTHONDONTWRITEBYTECODE=1 "
        f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {' '.join(environment)} python3 -m pytest -q -s -rs --noconftest "
        "-p no:cacheprovider -c /dev/null --rootdir=/mnt/tree --import-mode=importlib "
        f"--basetemp=/tmp/inside {paths} -k '{tests}' 2>&1",
        timeout_s=TEST_S,
    )
    print(said)
    assert re.search(r"\d+ passed", said), said
    return said


@pytest.mark.timeout(700)
def test_a_life_and_an_adoption(dom0: xen_bed.Dom0) -> None:
    """With hardware virtualization, which QEMU emulates: AMD's, with nested page tables.  And a case of the suite
    without it; `make soak` has all."""
    inside(dom0, ("xen_inside",), "test_a_life", f"XEN_MODE={Mode.PVH}")
    inside(dom0, ("xen_contract",), CASE)


@pytest.mark.timeout(6000)
@pytest.mark.skipif(not rounds(short=0, soak=1), reason="an hour in two nested emulations: `make soak`")
@pytest.mark.parametrize(("guests", "mode"), [("plain", Mode.PV), ("linux", Mode.PV), ("linux", Mode.PVH)])
def test_the_suite(dom0: xen_bed.Dom0, guests: str, mode: Mode) -> None:
    inside(dom0, ("xen_contract",), f"test_{guests}", f"XEN_MODE={mode}")


@pytest.mark.timeout(700)
@pytest.mark.skipif(not rounds(short=0, soak=1), reason="minutes in two nested emulations: `make soak`")
def test_a_life_without_hardware_virtualization(dom0: xen_bed.Dom0) -> None:
    inside(dom0, ("xen_inside",), "test_a_life", f"XEN_MODE={Mode.PV}")


@pytest.mark.timeout(700)
@pytest.mark.skipif(not rounds(short=0, soak=1), reason="minutes in two nested emulations: `make soak`")
def test_what_goes_wrong(dom0: xen_bed.Dom0) -> None:
    inside(dom0, ("xen_inside",), "test_starts_that_fail or test_a_domain_that_somebody_destroys")


@pytest.mark.timeout(700)
@pytest.mark.skipif(not rounds(short=0, soak=1), reason="minutes in two nested emulations: `make soak`")
def test_a_container_and_its_port(dom0: xen_bed.Dom0) -> None:
    assert "from a domain" in dom0.sh("sh /mnt/tree/tests/support/xen_run.sh 2>&1", timeout_s=600)


@pytest.mark.timeout(1500)
@pytest.mark.skipif(not rounds(short=0, soak=1), reason="minutes in two nested emulations: `make soak`")
def test_a_pod_of_three_its_volume_and_a_killed_hyperd(dom0: xen_bed.Dom0) -> None:
    assert "all of it" in dom0.sh("sh /mnt/tree/tests/support/xen_pod.sh 2>&1", timeout_s=1400)


@pytest.mark.timeout(6000)
@pytest.mark.skipif(not rounds(short=0, soak=1), reason="minutes in two nested emulations: `make soak`")
def test_killed_daemons(dom0: xen_bed.Dom0) -> None:
    inside(dom0, ("xen_inside",), "test_killed_daemons", "XEN_KILLS=50", f"XEN_MODE={Mode.PVH}")
