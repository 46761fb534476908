"""What a sandbox is brought up with and for."""

from __future__ import annotations

import secrets
import time
from asyncio import Future
from collections.abc import Callable
from dataclasses import dataclass

from hypercontainer.agent.operations import Interface, Sysctl, VmConfig
from hypercontainer.engine.state import PodRecord

# Programs map more than they touch (postgres, Java, a forking redis).  On a host with a limit for the container that
# works; in a VM of that size the kernel's guess would refuse it.
SYSCTLS = (Sysctl("vm.overcommit_memory", "1"),)


class NoCloneError(Exception):
    """A clone has come to nothing before its guest spoke.  There is one less to be found now: try again."""


@dataclass(frozen=True)
class Told:
    """What a guest was told and has not answered, by the stage of a start that its answer ends ("": none)."""

    stages: list[tuple[str, Future[None]]]
    timeout_s: float


@dataclass(frozen=True)
class Newcomer:
    """Who has need of the VM: ``what`` names it for people, ``image`` are the diff IDs of its image, if it has one.
    ``tell`` tells a guest more, behind what the sandbox has told it: given a deadline for each answer."""

    id: str
    what: str
    image: tuple[str, ...]
    tell: Callable[[float], list[tuple[str, Future[None]]]]


def vm_config(record: PodRecord, interfaces: tuple[Interface, ...]) -> VmConfig:
    """What a guest is told of its VM first; it has the time of now."""
    return VmConfig(
        hostname=record.hostname,
        domainname=record.spec.domainname,
        time_ns=time.time_ns(),
        entropy=secrets.token_bytes(64),
        interfaces=interfaces,
        sysctls=SYSCTLS,
    )
