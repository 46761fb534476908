"""What is not for who asks and is no user of this machine (`NOBODY`), beside its files."""

from __future__ import annotations

from hypercontainer.contract.spec import ContainerSpec, Syslog
from hypercontainer.engine.interface import NOBODY
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.sandbox.contents import OF_HOST
from hypercontainer.errors import InvalidArgument
from hypercontainer.semantics import syslog


def check_company(pod: Pod, spec: ContainerSpec, asked_by: int | None) -> None:
    """A VM with files of this machine, or with Docker's API, has no containers of theirs: those are root in it."""
    theirs = NOBODY in (pod.record.asked_by, *(record.asked_by for record in pod.records()))
    brings = spec.api_socket or any(isinstance(volume.source, OF_HOST) for volume in spec.volumes)
    if (asked_by == NOBODY and pod.contents().reaches_host) or (theirs and brings):
        raise InvalidArgument(
            f"{pod.what} is one VM: it has either files of this machine, or Docker's API, or containers of who is no "
            "user of it",
            field="pod",
        )


def check_log(spec: ContainerSpec, asked_by: int | None) -> None:
    """A socket of this machine is one of its files."""
    log = spec.log
    if asked_by == NOBODY and log.driver == "syslog" and syslog.server(log.syslog or Syslog()).path:
        raise InvalidArgument(
            "a syslog socket of hyperd's machine is for its users, and who asks is none", field="log"
        )
