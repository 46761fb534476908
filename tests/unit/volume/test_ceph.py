"""Ceph: keys as keyrings have them, and what librados is told."""

from __future__ import annotations

import pytest

from hypercontainer.volume import ceph

KEY, OTHER = "AQBoSRhqAAAAABAA5fHZ2a3mZbD1WvNq9QvPZQ==", "AQBoSRhqAAAAABAAAAAAAAAAAAAAAAAAAAAAAA=="
KEYRING = f"""\
# of two users
[client.other]
\tkey = {OTHER}
[client.bob]
    caps mon = "profile rbd"
    key={KEY}
"""


@pytest.mark.parametrize(
    ("content", "user", "found"),
    [
        (KEYRING, "bob", KEY),
        (KEYRING, "other", OTHER),
        (KEYRING, "bo", None),
        (f"{KEY}\n", "bob", KEY),
        (f'[client.bob]\nkey = "{KEY}"', "bob", KEY),
        (f"[client.bob]\nkey = {KEY}\nkey = x\n", "bob", KEY),
        (f"[mon.bob]\nkey = {KEY}", "bob", None),
        (f"key = {KEY}", "bob", None),
        ("[client.bob]\nkey = $HOME/some/thing/else", "bob", None),
        ("", "bob", None),
        ("\xff\0[client.bob]", "bob", None),
    ],
)
def test_the_key_of_a_user(content: str, user: str, found: str | None) -> None:
    assert ceph.key(content.encode("latin-1"), user) == found


def test_the_configuration_is_of_these_lines_and_no_others() -> None:
    assert ceph.configuration(["10.0.0.1", "[::1]:3300"], KEY, 300).decode().splitlines() == [
        "[global]",
        "mon_host = 10.0.0.1,[::1]:3300",
        "auth_client_required = cephx",
        f"key = {KEY}",
        "client_mount_timeout = 10",
        "rados_osd_op_timeout = 300",
    ]
