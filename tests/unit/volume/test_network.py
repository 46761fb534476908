"""Disks that servers have: URIs and what goes with them, and the files that have what is secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.contract.volumes import NetworkDisk
from hypercontainer.errors import HyperError, InvalidArgument, NotFound, NotSupported, Unavailable
from hypercontainer.volume.network import credentials, where

CERTIFICATES = {"tls_certificates": "/certs"}
CHAP = {"user": "bob", "password_file": "/word"}
KEYRING = {"user": "bob", "password_file": "/keyring"}
TARGET = "iqn.2001-04.com.example:disk"


@pytest.mark.parametrize(
    ("uri", "more", "words"),
    [
        ("nbd://h", {}, "nbd://h:10809/"),
        ("nbd://h:1/", {}, "nbd://h:1/"),
        ("nbd://[::1]/a/b", {}, "nbd://[::1]:10809/a/b"),
        ("nbd://h//a%20b", {}, "nbd://h:10809//a%20b"),
        ("NBD://Host/", {}, "nbd://host:10809/"),
        ("nbds://h/x", CERTIFICATES, "nbds://h:10809/x"),
        ("nbds://alice@h/x", {"tls_psk_file": "/keys"}, "nbds://h:10809/x"),
        ("nbd+unix:///x?socket=/run/s", {}, "nbd+unix:///x?socket=/run/s"),
        ("nbd+unix://?socket=/run/s", {}, "nbd+unix:///?socket=/run/s"),
        ("nbds+unix:///?socket=/s", CERTIFICATES | {"tls_hostname": "h"}, "nbds+unix:///?socket=/s"),
        (f"iscsi://h/{TARGET}/0", {}, f"iscsi://h:3260/{TARGET}/0"),
        ("RBD://ceph/disks/one", {}, "rbd://ceph/disks/one"),
        ("rbd://c-2/disks/team/one@be%66ore", {}, "rbd://c-2/disks/team/one@before"),
        ("rbd://ceph/a%23b/c+d:e", {}, "rbd://ceph/a%23b/c+d:e"),
        ("rbd://bob@mon1:3300,[::1],10.0.0.1:6789/d/i", KEYRING, "rbd://mon1:3300,[::1],10.0.0.1:6789/d/i"),
        ("rbd://mon1/d/i@s", KEYRING, "rbd://mon1/d/i@s"),
        (f"iscsi://10.0.0.1:99/{TARGET}/255", CHAP, f"iscsi://10.0.0.1:99/{TARGET}/255"),
    ],
)
def test_uris_that_are_taken(uri: str, more: dict[str, str], words: str) -> None:
    found = where(NetworkDisk(uri, **more))
    assert found.words == words
    assert where(NetworkDisk(words, **({**more, "user": found.user} if found.user else more))) == found


@pytest.mark.parametrize(
    ("uri", "more", "kind", "word"),
    [
        ("", {}, InvalidArgument, "no URI"),
        ("nbd://h/" + "a" * 2048, {}, InvalidArgument, "no URI"),
        ("nbd://h/a\nb", {}, InvalidArgument, "no URI"),
        ("nbd://h/ä", {}, InvalidArgument, "no URI"),
        ("/dev/sdb", {}, NotSupported, "another kind"),
        ("http://h/", {}, NotSupported, "another kind"),
        ("nbd://h:x/", {}, InvalidArgument, "nbd://h:x"),
        ("nbd://h:99999/", {}, InvalidArgument, "nbd://h:99999"),
        ("nbd://[h/", {}, InvalidArgument, "network disk"),
        ("nbd:///x", {}, InvalidArgument, "no host"),
        ("nbd://a,b/", {}, InvalidArgument, "'a,b' is no host"),
        ("nbd://-h/", {}, InvalidArgument, "no host"),
        ("nbd://h/%00", {}, InvalidArgument, "no name of an export"),
        ("nbd://h/%ff", {}, InvalidArgument, "no name of an export"),
        ("nbd://h/" + "a" * 1025, {}, InvalidArgument, "no name of an export"),
        ("nbd://h/?tls-psk-file=/k", {}, NotSupported, "tls-psk-file: not in a URI"),
        ("nbd://h/?socket=/s", {}, NotSupported, "socket: not in a URI"),
        ("nbd+unix:///", {}, InvalidArgument, "needs socket="),
        ("nbd+unix:///?socket=s", {}, InvalidArgument, "needs socket="),
        ("nbd+unix://h/?socket=/s", {}, InvalidArgument, "no host"),
        ("nbds://h/", {}, InvalidArgument, "TLS"),
        ("nbd://h/", CERTIFICATES, InvalidArgument, "TLS"),
        ("nbds://h/", CERTIFICATES | {"tls_psk_file": "/k"}, InvalidArgument, "by a shared key"),
        ("nbds://h/", {"tls_certificates": "certs"}, InvalidArgument, "no absolute path"),
        ("nbds://h/", CERTIFICATES | {"tls_hostname": "a b"}, InvalidArgument, "no host"),
        ("nbds+unix:///?socket=/s", CERTIFICATES, InvalidArgument, "no name that a certificate"),
        ("nbds://alice@h/", CERTIFICATES, InvalidArgument, "nobody asks for a user"),
        ("nbd://alice@h/", {}, InvalidArgument, "nobody asks for a user"),
        ("nbd://h:0/", {}, InvalidArgument, "0 is no port"),
        ("nbd+unix://:1/?socket=/s", {}, InvalidArgument, "no host"),
        ("nbd://h/", {"tls_hostname": "h"}, InvalidArgument, "without a certificate"),
        ("rbd:disks/one", {}, InvalidArgument, "no image of a pool"),
        ("rbd://ceph/one", {}, InvalidArgument, "no image of a pool"),
        ("rbd:///disks/one", {}, InvalidArgument, "'' is no cluster's name"),
        ("rbd://ceph/a/b/c/d", {}, InvalidArgument, "no image of a pool"),
        ("rbd://ceph/a/b@", {}, InvalidArgument, "no image of a pool"),
        ("rbd://ceph/a/b@c@d", {}, InvalidArgument, "no image of a pool"),
        ("rbd://ceph/a/b%2fc", {}, InvalidArgument, "no image of a pool"),
        ("rbd://ceph/a/b%0ac", {}, InvalidArgument, "no image of a pool"),
        ("rbd://ceph/a/b?conf=/x", {}, InvalidArgument, "no image of a pool"),
        ("rbd://mon:3300/a/b", {}, InvalidArgument, "'mon:3300' is no cluster's name"),
        ("rbd://mon,%0a/a/b", KEYRING, InvalidArgument, "are no monitors"),
        ("rbd://" + ",".join(["m"] * 17) + "/a/b", KEYRING, InvalidArgument, "are no monitors"),
        ("rbd://bob@ceph/a/b", {}, InvalidArgument, "a user or a password alone"),
        ("rbd://ceph/a/b", CERTIFICATES, InvalidArgument, "TLS"),
        ("iscsi://h/", {}, InvalidArgument, "no iSCSI target"),
        (f"iscsi://h/{TARGET}", {}, InvalidArgument, "no iSCSI target"),
        (f"iscsi://h/{TARGET}/256", {}, InvalidArgument, "no iSCSI target"),
        (f"iscsi://h/{TARGET},x/1", {}, InvalidArgument, "no iSCSI target"),
        (f"iscsi://bob@h/{TARGET}/1", {}, InvalidArgument, "a user or a password alone"),
        (f"iscsi://h/{TARGET}/1", {"password_file": "/w"}, InvalidArgument, "a user or a password alone"),
        (f"iscsi://h/{TARGET}/1", CERTIFICATES, InvalidArgument, "TLS"),
    ],
)
def test_uris_that_are_refused(uri: str, more: dict[str, str], kind: type[HyperError], word: str) -> None:
    with pytest.raises(kind) as caught:
        where(NetworkDisk(uri, **more))
    assert word in caught.value.message


@pytest.mark.parametrize(
    "uri",
    [
        f"iscsi://bob:hunter2@h/{TARGET}/1",
        f"iscsi://bob%25hunter2@h/{TARGET}/1",
        "rbd://bob:hunter2@mon/d/i",
        "rbd://bob%3ahunter2@mon/d/i@s",
    ],
)
def test_a_password_in_a_uri_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(NotSupported, match="in its URI could be read") as caught:
        where(NetworkDisk(uri, **CHAP))
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


@given(st.text(alphabet=st.characters(min_codepoint=1, max_codepoint=0x17F), max_size=80))
def test_any_uri_is_refused_in_words_or_has_one_form(text: str) -> None:
    for prefix in ("", "nbd://", "nbd+unix:///?socket=/", "iscsi://h/iqn.", "rbd://c/"):
        try:
            found = where(NetworkDisk(prefix + text))
        except (InvalidArgument, NotSupported):
            continue
        assert where(NetworkDisk(found.words)) == found


def refusal(kind: type[HyperError], **fields: Any) -> str:
    with pytest.raises(kind) as caught:
        credentials(NetworkDisk("nbds://h/", **fields), None)
    return caught.value.message


def test_what_is_secret_is_read_from_files(tmp_path: Path) -> None:
    for name in ("ca-cert.pem", "client-cert.pem", "client-key.pem"):
        (tmp_path / name).write_text(name)
    (tmp_path / "word").write_text("a word\r\n")
    disk = NetworkDisk("nbds://h/", tls_certificates=str(tmp_path))
    assert dict(credentials(disk, None)).keys() == {"ca-cert.pem", "client-cert.pem", "client-key.pem"}
    (tmp_path / "client-cert.pem").unlink()
    assert credentials(disk, None) == (("ca-cert.pem", b"ca-cert.pem"),)
    chap = NetworkDisk("iscsi://h/", user="u", password_file=f"{tmp_path}/word")
    assert credentials(chap, None) == (("password", b"a word"),)
    keys = NetworkDisk("nbds://h/", tls_psk_file=f"{tmp_path}/word")
    assert credentials(keys, None) == (("keys.psk", b"a word\r\n"),)
    assert credentials(NetworkDisk("nbd://h/"), None) == ()


def test_files_that_are_no_credentials(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(1 << 19))
    os.mkfifo(tmp_path / "fifo")
    assert "no such file" in refusal(NotFound, tls_psk_file=f"{tmp_path}/gone")
    assert "no such file" in refusal(NotFound, tls_certificates=str(tmp_path))
    assert "not a regular file" in refusal(Unavailable, tls_psk_file=f"{tmp_path}/fifo")
    assert "are no credentials" in refusal(InvalidArgument, tls_psk_file=f"{tmp_path}/large")
    assert "no password" in refusal(InvalidArgument, password_file=f"{tmp_path}/empty")
