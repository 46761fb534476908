"""The host's resolv.conf: whom it names, and when it is read again."""

from __future__ import annotations

import os
from pathlib import Path

from hypercontainer.network.dns.fairness import MAX_KNOWN, Buckets, Rate
from hypercontainer.network.dns.host_servers import HostServers, named


def test_servers_are_named_line_by_line() -> None:
    text = b"""# nameserver 9.9.9.9
search example.org
nameserver 192.0.2.1
nameserver\t2001:db8::1  # of the office
nameserver 192.0.2.1
nameserver
nameserver localhost
nameserver 300.1.1.1
\xff\xfe\0 nameserver 8.8.8.8
nameserver fe80::1%eth0
nameserver 192.0.2.9
"""
    assert named(text) == (("192.0.2.1", 53), ("2001:db8::1", 53), ("fe80::1%eth0", 53))
    assert named(b"") == ()


def test_the_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    servers = HostServers(str(path))
    assert servers() == ()
    path.write_text("nameserver 192.0.2.1\n")
    assert servers() == (("192.0.2.1", 53),)
    new = tmp_path / "new"
    new.write_text("nameserver 192.0.2.2\n")
    os.utime(new, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
    new.replace(path)
    assert servers() == (("192.0.2.2", 53),)
    path.unlink()
    assert servers() == ()


def test_it_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("\n" * (1 << 16) + "nameserver 192.0.2.1\n")
    assert HostServers(str(path))() == ()


def test_buckets_are_bounded() -> None:
    buckets = Buckets(Rate(per_second=1, burst=1), lambda: 0.0)
    assert buckets.take("first")
    assert not buckets.take("first")
    for n in range(MAX_KNOWN):
        assert buckets.take(n)
    assert len(buckets._known) == MAX_KNOWN
    assert buckets.take("first")  # forgotten
