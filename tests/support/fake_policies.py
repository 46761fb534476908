"""The fake engine's network policies."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hypercontainer.contract import answers as a
from hypercontainer.contract.policies import NetworkPolicy, PolicySpec
from hypercontainer.errors import Conflict, NotFound
from noted import Noted, Notes


class FakePolicies(Noted, of="policies"):
    """Holds a policy "closed", which denies everything, and that somebody was denied."""

    def __init__(self, notes: Notes, *, makes_all: bool = False) -> None:
        self.notes = notes
        self._makes_all = makes_all
        self.known = {"closed": PolicySpec("closed", NetworkPolicy(egress=()))}

    def _policy(self, name: str) -> PolicySpec:
        if name not in self.known:
            if not self._makes_all:
                raise NotFound(f"no network policy {name}")
            self.known[name] = PolicySpec(name, NetworkPolicy(egress=()))
        return self.known[name]

    async def create(self, spec: PolicySpec) -> a.PolicyInfo:
        if spec.name in self.known and not self._makes_all:
            raise Conflict(f"there is a network policy {spec.name}")
        self.known[spec.name] = spec
        return _told(spec)

    async def update(self, spec: PolicySpec) -> a.PolicyInfo:
        self._policy(spec.name)
        self.known[spec.name] = spec
        return _told(spec)

    async def find(self) -> list[a.PolicyInfo]:
        return [_told(spec) for spec in self.known.values()]

    async def inspect(self, name: str) -> a.PolicyInfo:
        return _told(self._policy(name))

    async def remove(self, name: str, *, force: bool = False) -> None:
        if not (force and name not in self.known):
            del self.known[self._policy(name).name]

    async def check(self, ref: str, *, url: str, method: str = "GET") -> a.PolicyVerdict:
        return a.PolicyVerdict(allowed=False, reason="no rule allows it", policy="closed")

    async def audit(self, *, ref: str = "", follow: bool = False) -> AsyncIterator[a.Denial]:
        yield a.Denial(
            time="2026-01-01T00:00:00Z",
            pod="p1",
            pod_name="shop",
            address="10.0.0.1",
            port=443,
            protocol="tcp",
            reason="no rule allows it",
            count=3,
        )


def _told(spec: PolicySpec) -> a.PolicyInfo:
    return a.PolicyInfo(name=spec.name, policy=spec.policy)
