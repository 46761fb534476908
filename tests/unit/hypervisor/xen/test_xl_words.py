"""What xl says, read."""

from __future__ import annotations

from hypercontainer.errors import Conflict, LaunchError
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.xen import xl

# Of Xen 4.17's `xl list -v`.
LISTED = """\
Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label
Domain-0                                     0  1024     1     r-----     393.6 00000000-0000-0000-0000-000000000000        -                -
t-pv                                         1     0     0     --p---       0.0 4bf86f95-3644-4e42-8f4f-53e31a265548        -                -
a name  9 9 with blanks                      2   256     1     ---s--      43.5 56ecdfa4-db9e-483c-923f-ee8d4c038cad        0                -
again                                        3   256     1     ---s--       1.5 56ecdfa4-db9e-483c-923f-ee8d4c038cae        1                -
panic                                        4   256     1     ---sc-       1.5 56ecdfa4-db9e-483c-923f-ee8d4c038caf        3                -
(null)                                       5     0     1     --ps-d       1.5 56ecdfa4-db9e-483c-923f-ee8d4c038cb0        3                -
Xen said nothing of this
"""


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
