"""Whose a hyperd is: root's, or an ordinary user's who can make networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import busybox_image
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from ordinary_user import ordinary_hyper

OWNERS = ("root", "user")


@contextlib.contextmanager
def hyper_of(owner: str, hypervisor: str) -> Iterator[Hyper]:
    """With the busybox image."""
    machine = f'{NO_POOL}[machine]\nhypervisor = "{hypervisor}"\n'
    root = hyper_context(NO_POOL, hypervisor=hypervisor)
    with root if owner == "root" else ordinary_hyper(machine, tun=True) as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made
