"""What xl says, read."""

from __future__ import annotations

from pathlib import Path

from hypercontainer.errors import Conflict, LaunchError
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.xen import xl

# Of Xen 4.17's `xl list -v`.
LISTED = (Path(__file__).parents[3] / "golden/xen/list.txt").read_text()


def test_a_list() -> None:
    domains = xl.read_list(LISTED)
    assert [domain.id for domain in domains] == [0, 1, 2, 3, 4, 5]
    assert [domain.paused for domain in domains] == [False, True, False, False, False, True]
    assert [domain.ending for domain in domains] == [
        *(None, None, ExitReason.GUEST_SHUTDOWN, ExitReason.GUEST_RESET, ExitReason.GUEST_RESET),
        ExitReason.GUEST_RESET,
    ]
    assert [domain.gone for domain in domains] == [*[False] * 5, True]
    assert (domains[2].cpu_seconds, domains[2].memory_mib) == (43.5, 256)
    assert domains[2].uuid == "56ecdfa4-db9e-483c-923f-ee8d4c038cad"


def test_the_first_error_is_told_without_its_place_in_the_program() -> None:
    said = (
        "Parsing config from /r/domain.cfg\n"
        "libxl: error: libxl_dom.c:640:libxl__build_dom: Domain 3:xc_dom_parse_image failed\n"
        "libxl: error: libxl_create.c:1746:domcreate_rebuild_done: Domain 3:cannot (re-)build domain: -3\n"
    )
    assert xl.last_words(said) == "Domain 3:xc_dom_parse_image failed"


def test_a_name_that_somebody_else_has() -> None:
    error = xl.refused("hyper-a", 128, 3, 'libxl: error: x.c:1:f: domain with name "hyper-a" already exists.')
    assert isinstance(error, Conflict)
    assert "hyper-a" in error.message


def test_too_little_memory_says_where_there_may_be_more() -> None:
    error = xl.refused("hyper-a", 4096, 3, "failed to free memory for the domain")
    assert isinstance(error, LaunchError)
    assert "4096 MiB" in error.message
    assert "dom0" in (error.hint or "")
