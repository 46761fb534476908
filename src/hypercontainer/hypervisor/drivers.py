"""The drivers that there are, by name.

A new VM is the default's.  One that is written down belongs to the driver that made it, whatever the default is by now.
"""

from __future__ import annotations

from hypercontainer.errors import NotSupported, Unavailable
from hypercontainer.hypervisor.driver import Driver, VMRecord


class Drivers:
    def __init__(self, default: Driver, *others: Driver) -> None:
        """Each of them has a name of its own."""
        self.default = default
        self._by_name = {driver.name: driver for driver in (default, *others)}

    def named(self, name: str) -> Driver:
        """``Unavailable`` where there is none of this name."""
        if name not in self._by_name:
            raise Unavailable(f"there is no driver {name!r}", hint=self._hint())
        return self._by_name[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def foreign(self, architecture: str) -> Driver:
        """Of VMs of another architecture than the default's; ``NotSupported`` where there is none."""
        for driver in self._by_name.values():
            if driver.architecture == architecture:
                return driver
        raise NotSupported(
            f"there are no VMs for {architecture}", hint=f"there are VMs for {', '.join(self.architectures)}"
        )

    @property
    def architectures(self) -> tuple[str, ...]:
        """Of all their VMs, the default's first."""
        return tuple(dict.fromkeys(driver.architecture for driver in self._by_name.values()))

    def usual(self) -> tuple[Driver, ...]:
        """Of VMs of the default's architecture."""
        return tuple(each for each in self.all() if each.architecture == self.default.architecture)

    def all(self) -> tuple[Driver, ...]:
        return tuple(self._by_name.values())

    def _hint(self) -> str:
        return f"there is {', '.join(sorted(self._by_name))}"

    def of(self, record: VMRecord) -> Driver:
        """The one that made this VM; ``Unavailable`` where it is not there any more."""
        driver = self._by_name.get(record.driver)
        if driver is None:
            raise Unavailable(
                f"VM {record.name} belongs to driver {record.driver!r}, which is not there",
                hint=self._hint(),
            )
        return driver
