"""Network policies by name, what they say of a URL, and what they have denied."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from hypercontainer.contract.answers import Denial, PolicyInfo, PolicyVerdict
from hypercontainer.contract.policies import PolicySpec
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.network.policing import Policing
from hypercontainer.errors import Conflict, NotFound
from hypercontainer.network.policy.checking import Led, check, parsed
from hypercontainer.network.policy.language import Meaning, meaning


class PolicyService:
    def __init__(
        self,
        directory: Directory,
        policing: Policing,
        events: EventBus,
    ) -> None:
        self._directory, self._policing, self._events = directory, policing, events
        self._policies, self._audit = policing.policies, policing.audit

    async def create(self, spec: PolicySpec) -> PolicyInfo:
        """Conflict where there is one of its name."""
        self._policies.add(spec)
        self._events.publish("policy", "create", spec.name, name=spec.name)
        return self._told(spec)

    async def update(self, spec: PolicySpec) -> PolicyInfo:
        """At once for pods that run; returns when it counts, and what is not allowed any more is cut."""
        await asyncio.shield(self._policing.change(spec))  # who asks for it may go
        self._events.publish("policy", "update", spec.name, name=spec.name)
        return self._told(spec)

    async def find(self) -> list[PolicyInfo]:
        return [self._told(spec) for spec in self._policies.all()]

    async def inspect(self, name: str) -> PolicyInfo:
        return self._told(self._policies.get(name))

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Conflict, which names the pods, where one has it; ``force``: what is not there is no failure."""
        try:
            users = self._told(self._policies.get(name)).users
        except NotFound:
            if not force:
                raise
            return
        if users:
            raise Conflict(f"network policy {name} is used by {', '.join(users)}", hint="remove these first")
        await self._policing.remove(name)
        self._events.publish("policy", "destroy", name, name=name)

    async def check(self, ref: str, *, url: str, method: str = "GET") -> PolicyVerdict:
        """By the policy that the pod has now, and the answers that name servers have given to it."""
        pod = await self._directory.pod_of(ref)
        wish = pod.record.spec.network_policy
        policy = self._policies.get(wish).policy if isinstance(wish, str) else wish
        means = Meaning() if policy is None else meaning(policy)
        policing = self._policing
        led = Led(partial(policing.names_of, pod.id), partial(policing.addresses_of, pod.id))
        found, addresses = check(means, parsed(url), method, led)
        return PolicyVerdict(
            allowed=found.allowed,
            reason=found.reason,
            rule=found.rule,
            policy=wish if isinstance(wish, str) else "",
            addresses=tuple(map(str, addresses)),
        )

    async def audit(self, *, ref: str = "", follow: bool = False) -> AsyncIterator[Denial]:
        pod = (await self._directory.pod_of(ref)).id if ref else ""
        async for line in self._audit.follow(pod, on=follow):
            yield line

    def _told(self, spec: PolicySpec) -> PolicyInfo:
        users = [
            pod.called for pod in self._directory.pods.values() if pod.record.spec.network_policy == spec.name
        ]
        return PolicyInfo(name=spec.name, policy=spec.policy, users=tuple(sorted(users)))
