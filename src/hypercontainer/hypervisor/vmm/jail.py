"""What the process of such a VM finds itself in: the jail that QEMU has, but that it may open its disks by their names
and make unix sockets in one directory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from hypercontainer.hypervisor import kvm
from hypercontainer.hypervisor.spec import VMSpec
from hypercontainer.hypervisor.vmm import disks
from hypercontainer.hypervisor.vmm.places import SOCKETS, VmmRunDir
from hypercontainer.linux.confine import OUTWARD, PRIVILEGED, Rights, new_namespaces
from hypercontainer.linux.seccomp import ALLOW, ERRNO, Arg, Op, Profile, Rule, compile_filter

EPERM, EAFNOSUPPORT = 1, 97
AF_UNIX = 1
# A C library's way to tell a thread of one's own something (musl's pthread_kill), which is how a vCPU is stopped; in a
# PID namespace there are no others' threads.
OWN_THREADS = "tkill"


@cache
def call_filter() -> bytes:
    """Beside the program's own, which allows its threads what each of them needs."""
    refused = (*(name for name in OUTWARD if name != OWN_THREADS), *PRIVILEGED, "unshare")
    rules = [Rule(refused, ERRNO | EPERM), *new_namespaces(ERRNO | EPERM)]
    rules.append(Rule(("socket",), ERRNO | EAFNOSUPPORT, (Arg(0, Op.NE, AF_UNIX),)))
    return compile_filter(Profile(ALLOW, tuple(rules), x86=False, x32=False), ())


def rights_of_program(
    files: Sequence[str],
    devices: Sequence[tuple[str, str]],
    *,
    reopened: tuple[int, ...],
    network: bool = False,
) -> Rights:
    """What it needs to run any guest; ``network``: the namespace that it is started in."""
    seen = [(name, name) for name in ("/dev/null", str(kvm.DEVICE))]
    return Rights(
        files=tuple((name, name) for name in files),
        devices=(*seen, *devices),
        reopened=reopened,
        network=network,
        groups=kvm.groups_for_vm(),
        filter=call_filter(),
    )


def rights_of_vm(spec: VMSpec, run: VmmRunDir) -> dict[str, object]:
    """What it needs besides for this one: fields of ``Rights``."""
    return {
        "disks": disks.granted(spec.disks, read_only=False),
        "images": disks.granted(spec.disks, read_only=True),
        "sockets": ((str(run.sockets), SOCKETS),),
        "uid": spec.owner_uid,
    }
