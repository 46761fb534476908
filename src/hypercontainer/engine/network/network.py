"""What a network is to a VM that is brought up: its NICs, what its guest is told, and what is done once it is there."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Protocol

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.networks import Join
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.state import Attachment, PodRecord
from hypercontainer.errors import Conflict, InvalidArgument
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.spec import Nic, Tap

MAC = re.compile(r"[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}")  # a unicast one
# Of the NIC of a VM that is nobody's yet, which the guest replaces by its own.
TEMPLATE_MAC = "02:00:00:00:00:01"
_LETTERS = "eth"


class Network(Protocol):
    """A pod's, with all that it is connected to; its places there are ``attachments``."""

    @property
    def attachments(self) -> tuple[Attachment, ...]: ...

    @property
    def resolvers(self) -> tuple[str, ...]:
        """Name servers, as a container sees them.  ``asks``: they ask those of the pod's own choice."""

    @property
    def asks(self) -> bool: ...

    @property
    def host(self) -> str:
        """By which address a container reaches the host's own services; "" where it does not."""

    @property
    def authority(self) -> str:
        """The certificate of the authority that the pod is to trust, PEM; "" where it is to trust none of ours."""

    def nics(self, published: Sequence[PortMapping]) -> tuple[Nic, ...]:
        """Of a VM that is booted for this pod."""

    def template_nics(self, published: Sequence[PortMapping] = ()) -> tuple[Nic, ...]:
        """Of a VM that anybody's pod may get; another one each time."""

    def template_interfaces(self) -> tuple[Interface, ...]:
        """What its guest is told ahead."""

    def interfaces(self) -> tuple[Interface, ...]:
        """What a guest that was booted for this pod is told."""

    def renewed(self) -> tuple[Interface, ...]:
        """What one is told that was told ``template_interfaces``."""

    async def join(self, vm: VM, ports: Sequence[PortMapping], *, ready: bool) -> None:
        """Connects a VM that is there, and publishes its ports.  ``ready``: it was there before anybody needed it."""

    async def publish(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        """Of a VM that runs; all or none."""

    async def withdraw(self, vm: VM, ports: Sequence[PortMapping]) -> None: ...


class Places(Protocol):
    """All networks of one kind, to a pod that comes into one of them, or leaves it, while its VM runs."""

    def attached(self, pod: str) -> tuple[Attachment, ...]:
        """The one with the way out first."""

    def tap(self, pod: str, attachment: Attachment) -> Tap:
        """What the VM is to be given."""

    async def connect(self, pod: PodRecord, join: Join, place: int) -> Attachment:
        """One more network, by the interface of this number or a higher one.  Its device is to be plugged into the VM,
        and then in here (``plug_in``)."""

    async def plug_in(self, pod: str, attachment: Attachment, ports: Sequence[PortMapping]) -> None: ...

    async def disconnect(self, pod: str, attachment: Attachment, ports: Sequence[PortMapping]) -> None:
        """Nothing happens where it is gone."""

    def told(self, pod: str, new: str) -> tuple[Interface, ...]:
        """To its guest, by now: of the interface with the way out, and of a ``new`` one, by its device."""


class NoNetwork:
    """``Network`` of a VM that has none."""

    attachments: tuple[Attachment, ...] = ()
    resolvers: tuple[str, ...] = ()
    asks = False
    host = authority = ""

    def nics(self, published: Sequence[PortMapping]) -> tuple[Nic, ...]:
        return ()

    def template_nics(self, published: Sequence[PortMapping] = ()) -> tuple[Nic, ...]:
        return ()

    def template_interfaces(self) -> tuple[Interface, ...]:
        return ()

    def interfaces(self) -> tuple[Interface, ...]:
        return ()

    def renewed(self) -> tuple[Interface, ...]:
        return ()

    async def join(self, vm: VM, ports: Sequence[PortMapping], *, ready: bool) -> None:
        pass

    async def publish(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        raise Conflict("a VM without a network publishes nothing")

    async def withdraw(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        pass


def own_address(network: Network) -> str:
    """Of IPv4, where the pod has its way out; "" where it has none."""
    return next((each.host4 for each in network.attachments), "")


def interface_name(place: int | str) -> str:
    """Of the NIC at this place among a pod's; "": what all begin with."""
    return f"{_LETTERS}{place}"


def next_place(interfaces: Iterable[str], least: int) -> int:
    """A number that none of these has, nor a higher one."""
    return max([least, *(int(name.removeprefix(_LETTERS)) + 1 for name in interfaces)])


def new_mac() -> str:
    """A unicast, locally administered address."""
    return "02:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(5))


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def check_mac(mac: str | None) -> None:
    if mac is not None and not MAC.fullmatch(mac):
        raise InvalidArgument(
            f"{mac!r} is no MAC address of one device", field="mac_address", takes="as 02:42:ac:11:00:02"
        )
