"""Policies with names, and what the policies of pods mean; what the kernel is told of them is `policing`'s.

A pod has the policy that it was made with: one of its own, or by its name one that may change.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from hypercontainer.contract.networks import CNI, HYPERVISOR, USER, Join
from hypercontainer.contract.policies import NetworkPolicy, PolicySpec
from hypercontainer.engine import names
from hypercontainer.engine.state import PodRecord, StateStore
from hypercontainer.errors import Conflict, NotFound, NotSupported
from hypercontainer.network.policy.compiling import Compiled
from hypercontainer.network.policy.language import meaning

_DENIES_ALL = NetworkPolicy(egress=())
Wish = str | NetworkPolicy | None


class Policies:
    """Owner of the records.  Numbers are given anew with each hyperd: the kernel is told of all when it begins."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._numbers = itertools.count(1)
        self._named: dict[str, NetworkPolicy] = {}
        self._compiled: dict[str, Compiled] = {}  # by the name
        self._own: dict[str, Compiled] = {}  # by the pod

    def open(self) -> None:
        for record in self._state.policies():
            self._named[record.name] = record.policy
            self._compiled[record.name] = self._number(record.policy)

    def all(self) -> list[PolicySpec]:
        return [PolicySpec(name, policy) for name, policy in sorted(self._named.items())]

    def get(self, name: str) -> PolicySpec:
        if name not in self._named:
            raise NotFound(f"there is no network policy {name}")
        return PolicySpec(name, self._named[name])

    def add(self, spec: PolicySpec) -> None:
        """Conflict where there is one of this name; InvalidArgument, with the field."""
        names.check_name(spec.name, kind="network policy")
        if spec.name in self._named:
            raise Conflict(
                f"there is a network policy {spec.name} already", hint="update it, or choose another name"
            )
        self._put(spec, self.checked(spec.policy))

    def checked(self, policy: NetworkPolicy) -> Compiled:
        """With a number of its own.  InvalidArgument."""
        made = self._number(policy)
        _ = made.elements
        return made

    def change(self, spec: PolicySpec, made: Compiled) -> Compiled:
        """In place of what it was, which is returned; ``made`` of it."""
        self.get(spec.name)
        former = self._compiled[spec.name]
        self._put(spec, made)
        return former

    def remove(self, name: str) -> Compiled:
        self._state.remove_policy(name)
        del self._named[name]
        return self._compiled.pop(name)

    def _put(self, spec: PolicySpec, made: Compiled) -> None:
        self._state.put_policy(spec)
        self._named[spec.name], self._compiled[spec.name] = spec.policy, made

    def _number(self, policy: NetworkPolicy) -> Compiled:
        return Compiled(next(self._numbers), meaning(policy))

    # ------------------------------------------------------------------------------------- of pods

    def check(self, wish: Wish) -> None:
        """Of a new pod.  NotFound, InvalidArgument."""
        if isinstance(wish, str):
            self.get(wish)
        elif wish is not None:
            _ = Compiled(1, meaning(wish)).elements

    def admit(self, pod: PodRecord) -> Compiled | None:
        """What it is held to; of a name that is not there any more nothing is allowed."""
        wish = pod.spec.network_policy
        if wish is None:
            return None
        if isinstance(wish, str) and wish in self._compiled:
            return self._compiled[wish]
        if pod.id not in self._own:
            self._own[pod.id] = self._number(_DENIES_ALL if isinstance(wish, str) else wish)
        return self._own[pod.id]

    def dismiss(self, pod: str) -> Compiled | None:
        """It runs no more; the policy that was its alone."""
        return self._own.pop(pod, None)

    def named(self) -> Iterable[Compiled]:
        return self._compiled.values()


def check_joins(wish: Wish, joins: Iterable[Join], problem: str = "") -> None:
    """NotSupported where a pod with a policy would be in a network in which nobody keeps it.  ``problem``: why there
    are no others."""
    for join in joins:
        if wish is not None and (join.name in (USER, HYPERVISOR) or join.name.startswith(CNI)):
            raise NotSupported(
                f"a policy is kept in networks of hyperd's own, of which {join.name!r} is none",
                hint=problem or "choose another network, or leave the policy out",
            )
