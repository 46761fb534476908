"""Network interfaces, which are taps, plugged into a running User Mode Linux; which one it has by which number is
written down."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from hypercontainer.errors import Conflict, HypervisorError, NotFound, Unavailable
from hypercontainer.hypervisor import nics
from hypercontainer.hypervisor.spec import Nic, Tap, VMSpec
from hypercontainer.hypervisor.uml import control
from hypercontainer.hypervisor.uml.argv import vec


class _Written(msgspec.Struct):
    first: list[str]
    most: int
    plugged: dict[str, int] = {}


class PluggedNics:
    """``path``: the file that they are written down in; ``socket``: where the kernel is asked."""

    def __init__(self, path: Path, socket: Path) -> None:
        self._path = path
        self._socket = socket

    def begin(self, spec: VMSpec) -> None:
        """Of a VM that begins with the specification's."""
        self._write(_Written([nic.mac for nic in spec.nics], spec.hotplug_slots))

    async def attach(self, nic: Nic, tap: Tap) -> None:
        """Raises ``Conflict`` where the address is taken, ``Unavailable`` where all slots are."""
        written = self._read()
        if nic.mac in written.plugged or nic.mac in written.first:
            raise Conflict(f"network interface {nic.mac} is attached already")
        begin = len(written.first)
        places = set(range(begin, begin + written.most)) - set(written.plugged.values())
        if not places:
            raise Unavailable(f"network interface {nic.mac}: all of this VM's slots for more are taken")
        with contextlib.ExitStack() as fds:
            fd = nics.opened(tap, fds)
            self._write(msgspec.structs.replace(written, plugged={**written.plugged, nic.mac: min(places)}))
            try:
                await control.ask(self._socket, f"config vec{min(places)}{vec(nic, '@+0')}", [fd])
            except control.Refused as error:
                self._forget(nic.mac)
                raise HypervisorError(f"network interface {nic.mac}: {error.message}") from error

    async def detach(self, mac: str, timeout_s: float) -> None:
        place = self._read().plugged.get(mac)
        if place is None:
            raise NotFound(f"no network interface {mac} is attached")
        try:
            await control.ask(self._socket, f"remove vec{place}", timeout_s=timeout_s)
        except control.Refused as error:
            raise HypervisorError(
                f"the guest refused to give up network interface {mac}: {error.message}"
            ) from error
        self._forget(mac)

    def _forget(self, mac: str) -> None:
        written = self._read()
        written.plugged.pop(mac, None)
        self._write(written)

    def _read(self) -> _Written:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Written)
        except (OSError, msgspec.MsgspecError) as error:
            raise HypervisorError(f"which network interfaces a VM has cannot be read: {error}") from error

    def _write(self, written: _Written) -> None:
        new = self._path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(written))
        new.replace(self._path)
