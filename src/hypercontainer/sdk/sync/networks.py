"""Networks: where pods find each other by name.

Made of sdk/aio/networks.py by tools/make_sync.py; change it there.
"""

# ruff: noqa: A002, RUF100, E501
from __future__ import annotations

import builtins
from collections.abc import Sequence

from hypercontainer.contract.answers import NetworkInfo
from hypercontainer.contract.calls import NetworksPruned
from hypercontainer.contract.networks import Subnet
from hypercontainer.sdk.aio import networks as aio
from hypercontainer.sdk.aio.calls import Filters
from hypercontainer.sdk.options import Pairs
from hypercontainer.sdk.portal import Facade


class Networks(Facade[aio.AsyncNetworks]):
    """All networks that hyperd has made."""

    def create(
        self,
        name: str,
        *,
        subnets: str | Subnet | Sequence[str | Subnet] = (),
        ipv6: bool = False,
        internal: bool = False,
        mtu: int | None = None,
        labels: Pairs | None = None,
    ) -> NetworkInfo:
        """Makes a network.  ``subnets``: such as "10.89.0.0/24", at most one of IPv4 and one of IPv6; without any it
        gets one that nobody on this machine has.  ``internal``: there is no way out of it.

        Example::

            made = hyper.networks.create("back", subnets=["10.123.45.0/24"], labels={"of": "shop"})
            assert made.subnets[0].gateway == "10.123.45.1"
            hyper.networks.remove("back")
        """
        return self._portal.call(
            self._async.create(name, subnets=subnets, ipv6=ipv6, internal=internal, mtu=mtu, labels=labels)
        )

    def list(self, *, filters: Filters | None = None) -> builtins.list[NetworkInfo]:
        """The networks that there are.  Filters: as of ``hyper network ls``.

        Example::

            for network in hyper.networks.list():
                print(network.name, [subnet.subnet for subnet in network.subnets])
        """
        return self._portal.call(self._async.list(filters=filters))

    def inspect(self, name: str) -> NetworkInfo:
        """One network, by its name or its ID, with the pods in it; NotFound where there is none.

        Example::

            hyper.networks.create("looked-at")
            assert hyper.networks.inspect("looked-at").members == ()
            hyper.networks.remove("looked-at")
        """
        return self._portal.call(self._async.inspect(name))

    def remove(self, name: str, *, force: bool = False) -> None:
        """Removes it; Conflict where a pod is in it.

        Example::

            hyper.networks.create("gone")
            hyper.networks.remove("gone")
        """
        self._portal.call(self._async.remove(name, force=force))

    def prune(self, *, filters: Filters | None = None) -> NetworksPruned:
        """Removes those that no pod is in.  Filters: label, label!, until.

        Example::

            hyper.networks.create("unused")
            assert "unused" in hyper.networks.prune().removed
        """
        return self._portal.call(self._async.prune(filters=filters))

    def connect(
        self,
        name: str,
        ref: str,
        *,
        aliases: Sequence[str] = (),
        ip: str = "",
        ip6: str = "",
        mac_address: str = "",
        priority: int = 0,
    ) -> None:
        """Puts the pod ``ref``, or the one of the container ``ref``, into a network, at once where it runs.

        ``aliases``: more names of it there; ``ip``, ``ip6``: its addresses, else any.  Of its networks the one of the
        highest ``priority`` is its way out.

        Example::

            hyper.networks.create("joined")
            hyper.networks.connect("joined", box.id, aliases=["db"])
            (member,) = hyper.networks.inspect("joined").members
            assert member.endpoint.aliases == ("db",)
            hyper.networks.disconnect("joined", box.id)
            hyper.networks.remove("joined")
        """
        self._portal.call(
            self._async.connect(
                name, ref, aliases=aliases, ip=ip, ip6=ip6, mac_address=mac_address, priority=priority
            )
        )

    def disconnect(self, name: str, ref: str, *, force: bool = False) -> None:
        """Takes it out of a network, at once where it runs; ``force``: also out of one that is gone.

        Example::

            hyper.networks.create("left")
            hyper.networks.connect("left", box.id)
            hyper.networks.disconnect("left", box.id)
            hyper.networks.remove("left")
        """
        self._portal.call(self._async.disconnect(name, ref, force=force))
