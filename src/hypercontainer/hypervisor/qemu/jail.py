"""What QEMU finds itself in: with nothing but what its program and its guest need.

A root directory with its own program, libraries and firmware, read-only, ``/dev/null``, ``/dev/urandom`` and, with KVM,
``/dev/kvm``, its own descriptors, and what the host says of name servers; namespaces without the host's processes; no
other file by Landlock; no sockets but of the internet, and no system call that it has no use for.  Its network is the
host's, where it has one, since it connects for its guest; a VM without a network interface has none either.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import hypercontainer
from hypercontainer.hypervisor.driver import Accelerator, VMSpec
from hypercontainer.hypervisor.qemu import kvm
from hypercontainer.hypervisor.qemu.argv import FdPlan, Role, needs_low_port
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.resolver import NAMES, RESOLVER
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.linux import confine
from hypercontainer.linux.confine import OUTWARD, PRIVILEGED, Means, Rights, new_namespaces
from hypercontainer.linux.seccomp import ALLOW, ERRNO, Arg, Op, Profile, Rule, compile_filter

PRIVATE_MEMORY = Path(hypercontainer.__file__).parent / "_native" / "private_memory.so"
DEVICES = ("/dev/null", "/dev/urandom")
EPERM, EAFNOSUPPORT = 1, 97
AF_INET, AF_INET6 = 2, 10


@cache
def call_filter() -> bytes:
    """Beside QEMU's own, which denies what starts programs and changes users."""
    refused = (*OUTWARD, *PRIVILEGED, "unshare")
    rules = [Rule(refused, ERRNO | EPERM), *new_namespaces(ERRNO | EPERM)]
    others = tuple(Arg(0, Op.NE, family) for family in (AF_INET, AF_INET6))
    rules.append(Rule(("socket",), ERRNO | EAFNOSUPPORT, others))
    return compile_filter(Profile(ALLOW, tuple(rules), x86=False, x32=False), ())


def rights_of_program(binary: Binary, *, reopened: tuple[int, ...] = ()) -> Rights:
    """What QEMU needs to run any guest; ``reopened``: what it is handed and opens again."""
    return Rights(
        files=tuple((name, name) for name in binary.files),
        devices=tuple((name, name) for name in DEVICES),
        links=((str(binary.path), "/proc/self/exe"),),
        reopened=reopened,
        network=False,
        filter=call_filter(),
    )


def rights(binary: Binary, spec: VMSpec, plan: FdPlan, role: Role, run: RunDir, means: Means) -> Rights:
    """What the QEMU of a VM needs."""
    needs = rights_of_program(
        binary, reopened=tuple(fd for fd in (plan.kernel, plan.initrd) if fd is not None)
    )
    files, links = list(needs.files), list(needs.links)
    if role is Role.CLONE:
        files.append((str(PRIVATE_MEMORY), str(PRIVATE_MEMORY)))
    if spec.nics and means.namespaces:
        files.append((str(run.names), NAMES))
        links.append((f"{NAMES}/{run.resolver.name}", RESOLVER))
    elif spec.nics and Path(RESOLVER).exists():
        files.append((RESOLVER, RESOLVER))
    accelerated = spec.accelerator is Accelerator.KVM
    return replace(
        needs,
        files=tuple(files),
        links=tuple(links),
        devices=(*needs.devices, *([(str(kvm.DEVICE),) * 2] if accelerated else ())),
        network=bool(spec.nics),
        uid=spec.owner_uid,
        groups=kvm.groups_for_vm() if accelerated else (),
        low_ports=needs_low_port((port for _, port in spec.forwards), confine.unprivileged_port_start()),
    )
