"""What QEMU finds itself in: with nothing but what its program and its guest need.

A root directory with its own program, libraries and firmware, read-only, ``/dev/null``, ``/dev/urandom`` and, with KVM,
``/dev/kvm``, and its own descriptors; namespaces without the host's processes and without a network; no other file by
Landlock; no new sockets, and no system call that it has no use for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import hypercontainer
from hypercontainer.hypervisor import kvm
from hypercontainer.hypervisor.qemu.argv import FdPlan, Role
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.spec import Accelerator, VMSpec
from hypercontainer.linux.confine import OUTWARD, PRIVILEGED, Rights, new_namespaces
from hypercontainer.linux.seccomp import ALLOW, ERRNO, Profile, Rule, compile_filter

PRIVATE_MEMORY = Path(hypercontainer.__file__).parent / "_native" / "private_memory.so"
DEVICES = ("/dev/null", "/dev/urandom")
EPERM, EAFNOSUPPORT = 1, 97


@cache
def call_filter() -> bytes:
    """Beside QEMU's own, which denies what starts programs and changes users."""
    refused = (*OUTWARD, *PRIVILEGED, "unshare")
    rules = [Rule(refused, ERRNO | EPERM), *new_namespaces(ERRNO | EPERM)]
    rules.append(Rule(("socket",), ERRNO | EAFNOSUPPORT))
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


def rights(binary: Binary, spec: VMSpec, plan: FdPlan, role: Role) -> Rights:
    """What the QEMU of a VM needs."""
    needs = rights_of_program(
        binary, reopened=tuple(fd for fd in (plan.kernel, plan.initrd) if fd is not None)
    )
    preloaded = [(str(PRIVATE_MEMORY),) * 2] if role is Role.CLONE else []
    accelerated = spec.accelerator is Accelerator.KVM
    return replace(
        needs,
        files=(*needs.files, *preloaded),
        devices=(*needs.devices, *([(str(kvm.DEVICE),) * 2] if accelerated else ())),
        uid=spec.owner_uid,
        groups=kvm.groups_for_vm() if accelerated else (),
    )
