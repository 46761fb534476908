"""Networks: where pods find each other by name."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from hypercontainer.contract.answers import NetworkInfo
from hypercontainer.contract.calls import ConnectBody, DisconnectBody, NetworkList, NetworksPruned
from hypercontainer.contract.networks import Join, NetworkSpec, Subnet
from hypercontainer.sdk.aio.calls import Filters, as_query
from hypercontainer.sdk.options import Pairs, words
from hypercontainer.sdk.transport import Api


class AsyncNetworks:
    """All networks that hyperd has made."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(
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

            made = await hyper.networks.create("back", subnets=["10.123.45.0/24"], labels={"of": "shop"})
            assert made.subnets[0].gateway == "10.123.45.1"
            await hyper.networks.remove("back")
        """
        given = (subnets,) if isinstance(subnets, str | Subnet) else subnets
        spec = NetworkSpec(
            name,
            tuple(Subnet(one) if isinstance(one, str) else one for one in given),
            ipv6=ipv6,
            internal=internal,
            mtu=mtu,
            labels=dict(labels or {}),
        )
        return await self._api.call("networks.create", NetworkInfo, body=spec)

    async def list(self, *, filters: Filters | None = None) -> builtins.list[NetworkInfo]:
        """The networks that there are.  Filters: as of ``hyper network ls``.

        Example::

            for network in await hyper.networks.list():
                print(network.name, [subnet.subnet for subnet in network.subnets])
        """
        query = {"filters": as_query(filters)}
        return (await self._api.call("networks.find", NetworkList, query=query)).networks

    async def inspect(self, name: str) -> NetworkInfo:
        """One network, by its name or its ID, with the pods in it; NotFound where there is none.

        Example::

            await hyper.networks.create("looked-at")
            assert (await hyper.networks.inspect("looked-at")).members == ()
            await hyper.networks.remove("looked-at")
        """
        return await self._api.call("networks.inspect", NetworkInfo, name)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Removes it; Conflict where a pod is in it.

        Example::

            await hyper.networks.create("gone")
            await hyper.networks.remove("gone")
        """
        await self._api.act("networks.remove", name, query={"force": force})

    async def prune(self, *, filters: Filters | None = None) -> NetworksPruned:
        """Removes those that no pod is in.  Filters: label, label!, until.

        Example::

            await hyper.networks.create("unused")
            assert "unused" in (await hyper.networks.prune()).removed
        """
        body = {"filters": {name: list(values) for name, values in (filters or {}).items()}}
        return await self._api.call("networks.prune", NetworksPruned, body=body)

    async def connect(
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

            await hyper.networks.create("joined")
            await hyper.networks.connect("joined", box.id, aliases=["db"])
            (member,) = (await hyper.networks.inspect("joined")).members
            assert member.endpoint.aliases == ("db",)
            await hyper.networks.disconnect("joined", box.id)
            await hyper.networks.remove("joined")
        """
        join = Join(name, words("aliases", aliases) or (), ip, ip6, mac_address, priority)
        await self._api.act("networks.connect", name, body=ConnectBody(ref, join))

    async def disconnect(self, name: str, ref: str, *, force: bool = False) -> None:
        """Takes it out of a network, at once where it runs; ``force``: also out of one that is gone.

        Example::

            await hyper.networks.create("left")
            await hyper.networks.connect("left", box.id)
            await hyper.networks.disconnect("left", box.id)
            await hyper.networks.remove("left")
        """
        await self._api.act("networks.disconnect", name, body=DisconnectBody(ref, force))
