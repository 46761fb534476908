"""What a pod may reach, and how much of it: the language of policies for the way out.

Part of what a user asks for (``spec.py``): wire form and stored form in one.  docs/networks.md says what it means, and
``network/policy/language.py`` what of it is refused.
"""

from __future__ import annotations

from msgspec import Struct


class EgressRule(Struct, frozen=True, forbid_unknown_fields=True, rename={"except_": "except"}):
    """Of ``to`` and ``http`` there is one.  ``to``: subnets, addresses and names ("*.example.com": one or more labels
    before it), without the subnets ``except_``; ``ports``: 443, "8000-8100", "53/udp", "ping", (): all of TCP and UDP,
    and ping.  ``http``: names of hosts, whose requests a proxy looks at; of ``methods`` and ``paths`` () is any."""

    to: tuple[str, ...] = ()
    except_: tuple[str, ...] = ()
    ports: tuple[int | str, ...] = ()
    http: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


class PolicyLimits(Struct, frozen=True, forbid_unknown_fields=True, rename={"in_": "in"}):
    """Rates in bits a second, "10Mbit", of what a pod sends and gets; "" and 0: none of its own."""

    out: str = ""
    in_: str = ""
    connections: int = 0


class NetworkPolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """``egress`` None: nothing is denied; else all that no rule allows."""

    egress: tuple[EgressRule, ...] | None = None
    limits: PolicyLimits = PolicyLimits()


class PolicySpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A policy with a name, by which pods have it."""

    name: str
    policy: NetworkPolicy
