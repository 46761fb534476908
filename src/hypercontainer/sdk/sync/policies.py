"""Network policies: what pods may reach.

Made of sdk/aio/policies.py by tools/make_sync.py; change it there.
"""

# ruff: noqa: A002, RUF100, E501
from __future__ import annotations

import builtins
from collections.abc import Generator

from hypercontainer.contract.answers import Denial, PolicyInfo, PolicyVerdict
from hypercontainer.contract.policies import NetworkPolicy
from hypercontainer.sdk.aio import policies as aio
from hypercontainer.sdk.portal import Facade


class Policies(Facade[aio.AsyncPolicies]):
    """All network policies that have a name."""

    def create(self, name: str, policy: NetworkPolicy) -> PolicyInfo:
        """Makes a policy, by whose name pods have it.

        Example::

            hyper.policies.create("nothing", hypercontainer.NetworkPolicy(egress=()))
            hyper.policies.remove("nothing")
        """
        return self._portal.call(self._async.create(name, policy))

    def update(self, name: str, policy: NetworkPolicy) -> PolicyInfo:
        """Changes it, at once for pods that run; what is open and not allowed any more is cut.

        Example::

            hyper.policies.create("some", hypercontainer.NetworkPolicy(egress=()))
            rule = hypercontainer.EgressRule(to=("10.0.0.0/8",), ports=(443,))
            made = hyper.policies.update("some", hypercontainer.NetworkPolicy(egress=(rule,)))
            assert made.policy.egress == (rule,)
            hyper.policies.remove("some")
        """
        return self._portal.call(self._async.update(name, policy))

    def list(self) -> builtins.list[PolicyInfo]:
        """The policies that there are.

        Example::

            for policy in hyper.policies.list():
                print(policy.name, policy.users)
        """
        return self._portal.call(self._async.list())

    def inspect(self, name: str) -> PolicyInfo:
        """One policy, with the pods that have it; NotFound where there is none.

        Example::

            hyper.policies.create("looked-at", hypercontainer.NetworkPolicy(egress=()))
            assert hyper.policies.inspect("looked-at").users == ()
            hyper.policies.remove("looked-at")
        """
        return self._portal.call(self._async.inspect(name))

    def remove(self, name: str, *, force: bool = False) -> None:
        """Removes it; Conflict where a pod has it.

        Example::

            hyper.policies.create("gone", hypercontainer.NetworkPolicy(egress=()))
            hyper.policies.remove("gone")
        """
        self._portal.call(self._async.remove(name, force=force))

    def check(self, ref: str, url: str, *, method: str = "GET") -> PolicyVerdict:
        """Whether a pod, or a container's, may reach a URL ("https://HOST/PATH", "tcp://HOST:PORT"), and why.

        Example::

            assert hyper.policies.check(box.id, "tcp://10.0.0.1:5432").allowed  # it has no policy
        """
        return self._portal.call(self._async.check(ref, url, method=method))

    def audit(self, ref: str = "", *, follow: bool = False) -> Generator[Denial, None, None]:
        """What pods were denied, or the one of ``ref``; with ``follow`` what comes, too, for ever.

        Example::

            for denial in hyper.policies.audit():
                print(denial.pod_name, denial.address, denial.port, denial.reason, denial.count)
        """
        return self._portal.iterate(self._async.audit(ref, follow=follow))
