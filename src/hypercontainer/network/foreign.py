"""Others' rules that let nothing through which is forwarded, and ours among them.

dockerd has all that is forwarded dropped which it does not know, in the table that iptables writes, and what one table
drops no other lets through.  So two rules at the beginning of that chain name our link.  They look as iptables' own do
there, and are put back whenever hyperd begins.
"""

from __future__ import annotations

from hypercontainer.network import nft, rules
from hypercontainer.network.netlink import Netlink

_TABLES = tuple(nft.Table(family, "filter") for family in (nft.IPV4, nft.IPV6))
_CHAIN = "FORWARD"


def let_through(host: Netlink, link: str) -> None:
    """Where there is such a chain."""
    for table in _TABLES:
        if nft.has_chain(host, table, _CHAIN) and not _ours(host, table, link):
            batch = nft.Batch()
            for rule in rules.forwarded(link):
                batch.insert(table, _CHAIN, rule)
            batch.commit(host, "a way through the host's rules")


def forget(host: Netlink, link: str) -> None:
    for table in _TABLES:
        batch = nft.Batch()
        for handle in _ours(host, table, link):
            batch.delete_rule(table, _CHAIN, handle)
        if batch.messages:
            batch.commit(host, "a way through the host's rules")


def _ours(host: Netlink, table: nft.Table, link: str) -> list[int]:
    """Handles of the rules that name the link."""
    name = link.encode()
    found = nft.rules_of(host, table, _CHAIN)
    return [each.get_attr("NFTA_RULE_HANDLE") for each in found if name in bytes(each.data)]
