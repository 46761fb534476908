"""Which addresses of libvirt's networks are for pods, and where pools are."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.hypervisor.libvirt.networks import lan
from hypercontainer.hypervisor.libvirt.pools import directory

NETWORK = """
<network connections='1'><name>default</name><bridge name='virbr0'/>{dns}
  <ip family='ipv6' address='fd00::1' prefix='64'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp>{dhcp}</dhcp></ip>
</network>"""
LOWER = "<range start='192.168.122.2' end='192.168.122.127'/>"
WHOLE = "<range start='192.168.122.2' end='192.168.122.254'/>"
HOST = "<host mac='52:54:00:00:00:01' ip='192.168.122.129'/>"


def network(dhcp: str, dns: str = "") -> str:
    return NETWORK.format(dhcp=dhcp, dns=dns)


@pytest.mark.parametrize(
    ("dhcp", "block"),
    [
        (LOWER, "192.168.122.128/25"),
        (LOWER + HOST, "192.168.122.192/26"),
        ("", "192.168.122.0/24"),
        ("<range start='192.168.122.16' end='192.168.122.254'/>", "192.168.122.0/28"),
    ],
)
def test_pods_are_beside_what_is_given_away(dhcp: str, block: str) -> None:
    found = lan("default", network(dhcp))
    assert (found.network, found.subnet.subnet, found.subnet.gateway) == (
        "default",
        "192.168.122.0/24",
        "192.168.122.1",
    )
    assert found.subnet.ip_range == block
    assert found.dns == ("192.168.122.1",)


def test_a_network_without_names_serves_none() -> None:
    assert lan("default", network(LOWER, "<dns enable='no'/>")).dns == ()


def test_a_block_that_is_named() -> None:
    assert lan("default", network(LOWER), "192.168.122.240/28").subnet.ip_range == "192.168.122.240/28"
    for block in ("192.168.122.0/24", "192.168.122.64/28", "10.0.0.0/28"):
        with pytest.raises(Unavailable, match=block):
            lan("default", network(LOWER), block)


@pytest.mark.parametrize(
    "xml",
    [
        network(WHOLE),
        "<network><name>bridged</name><forward mode='bridge'/></network>",
        network("<range start='x' end='y'/>"),
        network(LOWER).replace("255.255.255.0", "0.255.0.1"),
        "<network",
    ],
)
def test_a_network_that_has_no_place(xml: str) -> None:
    with pytest.raises(Unavailable, match="network default of libvirt"):
        lan("default", xml)


def test_where_a_pool_is() -> None:
    assert directory("images", "<pool type='dir'><target><path>/images</path></target></pool>") == Path(
        "/images"
    )
    for xml in (
        "<pool type='logical'><target><path>/dev/vg</path></target></pool>",
        "<pool type='dir'/>",
        "<pool",
    ):
        with pytest.raises(InvalidArgument, match="storage pool images"):
            directory("images", xml)
