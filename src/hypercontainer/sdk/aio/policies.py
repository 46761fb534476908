"""Network policies: what pods may reach."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import AsyncGenerator

from hypercontainer.contract.answers import Denial, PolicyInfo, PolicyVerdict
from hypercontainer.contract.calls import PolicyList
from hypercontainer.contract.policies import NetworkPolicy, PolicySpec
from hypercontainer.sdk.transport import Api


class AsyncPolicies:
    """All network policies that have a name."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, name: str, policy: NetworkPolicy) -> PolicyInfo:
        """Makes a policy, by whose name pods have it.

        Example::

            await hyper.policies.create("nothing", hypercontainer.NetworkPolicy(egress=()))
            await hyper.policies.remove("nothing")
        """
        return await self._api.call("policies.create", PolicyInfo, body=PolicySpec(name, policy))

    async def update(self, name: str, policy: NetworkPolicy) -> PolicyInfo:
        """Changes it, at once for pods that run; what is open and not allowed any more is cut.

        Example::

            await hyper.policies.create("some", hypercontainer.NetworkPolicy(egress=()))
            rule = hypercontainer.EgressRule(to=("10.0.0.0/8",), ports=(443,))
            made = await hyper.policies.update("some", hypercontainer.NetworkPolicy(egress=(rule,)))
            assert made.policy.egress == (rule,)
            await hyper.policies.remove("some")
        """
        return await self._api.call("policies.update", PolicyInfo, body=PolicySpec(name, policy))

    async def list(self) -> builtins.list[PolicyInfo]:
        """The policies that there are.

        Example::

            for policy in await hyper.policies.list():
                print(policy.name, policy.users)
        """
        return (await self._api.call("policies.find", PolicyList)).policies

    async def inspect(self, name: str) -> PolicyInfo:
        """One policy, with the pods that have it; NotFound where there is none.

        Example::

            await hyper.policies.create("looked-at", hypercontainer.NetworkPolicy(egress=()))
            assert (await hyper.policies.inspect("looked-at")).users == ()
            await hyper.policies.remove("looked-at")
        """
        return await self._api.call("policies.inspect", PolicyInfo, name)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Removes it; Conflict where a pod has it.

        Example::

            await hyper.policies.create("gone", hypercontainer.NetworkPolicy(egress=()))
            await hyper.policies.remove("gone")
        """
        await self._api.act("policies.remove", name, query={"force": force})

    async def check(self, ref: str, url: str, *, method: str = "GET") -> PolicyVerdict:
        """Whether a pod, or a container's, may reach a URL ("https://HOST/PATH", "tcp://HOST:PORT"), and why.

        Example::

            assert (await hyper.policies.check(box.id, "tcp://10.0.0.1:5432")).allowed  # it has no policy
        """
        query = {"url": url, "method": method}
        return await self._api.call("policies.check", PolicyVerdict, ref, query=query)

    async def audit(self, ref: str = "", *, follow: bool = False) -> AsyncGenerator[Denial, None]:
        """What pods were denied, or the one of ``ref``; with ``follow`` what comes, too, for ever.

        Example::

            async for denial in hyper.policies.audit():
                print(denial.pod_name, denial.address, denial.port, denial.reason, denial.count)
        """
        query = {"ref": ref, "follow": follow}
        async with contextlib.aclosing(self._api.values("policies.audit", Denial, query=query)) as lines:
            async for line in lines:
                yield line
