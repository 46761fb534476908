"""The rules as nft reads them back from the kernel, so that the bytes which are sent mean what they are meant to.

A difference is either a mistake or meant; then `HYPER_UPDATE_GOLDEN=1 pytest tests/unit/network/test_rules_text.py`
writes it down, and the review shows it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hypercontainer.network import rules, way_out_rules
from hypercontainer.network.netlink import NETFILTER
from hypercontainer.network.nft import IPV4, Batch, Chain, Table
from private_host import PrivateHost, netlink, said

LINK = "hyp-0123abcd"
FILTER = Table(IPV4, "filter", (), (Chain("FORWARD", rules.forwarded(LINK), 2),))
TABLES = {
    "bridged": rules.bridged(),
    "routed": rules.routed(masquerade=False),
    "routed-masquerade": rules.routed(masquerade=True),
    "host": rules.host("hyper_0123abcd", LINK),
    "forwarded": FILTER,
    "way-out": way_out_rules.table(),
}


@pytest.mark.parametrize("name", TABLES)
def test_rules_read_as_they_are_meant(host: PrivateHost, name: str) -> None:
    with netlink(NETFILTER) as kernel:
        batch = Batch()
        batch.make(TABLES[name])
        batch.commit(kernel, name)
    text = said("nft", "--numeric-priority", "list", "ruleset")
    golden = Path(__file__).parent / "rules" / f"{name}.txt"
    if os.environ.get("HYPER_UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()
