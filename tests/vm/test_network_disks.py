"""Disks that servers have: NBD of nbd-server and nbdkit, plain, by TLS, by unix sockets; iSCSI of tgt, with CHAP."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import busybox_image
from disk_servers import (
    TARGET,
    all_that_can_be_seen,
    certificates,
    ext4,
    nbd_server,
    nbdkit,
    nbdkit_socket,
    tgt,
)
from free_port import free_port
from hyper import Hyper

BUSYBOX = busybox_image.REFERENCE
KEY = "0123456789abcdef0123456789abcdef"
PASSWORD = "a word of sixteen"
needs_network_disks = pytest.mark.needs("network disks")


def content(disk: Path, name: str) -> bytes:
    words = ["debugfs", "-R", f"cat /{name}", str(disk)]
    return subprocess.run(words, capture_output=True, check=True).stdout


def secret(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@needs_network_disks
def test_a_vm_with_a_disk_of_each_kind(hyper: Hyper, tmp_path: Path) -> None:
    """One of whose servers goes away and comes back: what the guest writes meanwhile waits."""
    plain, tls, psk, scsi = disks = [ext4(tmp_path / f"{name}.raw") for name in "plain tls psk scsi".split()]
    port, socket = free_port(), tmp_path / "psk.sock"
    server, client = certificates(tmp_path, "disks.example")
    keys, word = secret(tmp_path / "keys", f"alice:{KEY}\n"), secret(tmp_path / "word", f"{PASSWORD}\n")
    with ExitStack() as serving:
        words = ("--tls=require", f"--tls-certificates={server}", "--tls-verify-peer")
        tls_port = serving.enter_context(nbdkit(tls, *words))
        serving.enter_context(nbdkit_socket(psk, socket, "--tls=require", f"--tls-psk={keys}"))
        scsi_port = serving.enter_context(tgt(scsi, "bob", PASSWORD))
        by_certificate = f"tls-certificates={client},tls-hostname=disks.example"
        mounts = [
            f"type=nbd,source=nbd://127.0.0.1:{port}/the%20data,target=/a",
            f"type=nbd,source=nbds://localhost:{tls_port}/,{by_certificate},target=/b",
            f"type=nbd,source=nbds+unix:///?socket={socket},tls-psk-file={keys},user=alice,target=/c",
            f"type=iscsi,source=iscsi://127.0.0.1:{scsi_port}/{TARGET}/1,user=bob,password-file={word},target=/d",
        ]
        said = [text for mount in mounts for text in ("--mount", mount)]
        each = "for d in a b c d; do echo here is $d > /$d/note; done; sync"
        script = (
            f"{each}; echo up; read word; {each}; echo $word > /a/more; sync; echo written; exec sleep 600"
        )
        with nbd_server(plain, port):
            hyper("run", "-di", "--name", "one", *said, BUSYBOX, "sh", "-c", script)
            hyper.wait_for_log("one", b"up")
            shown = hyper.inspect("one")["Mounts"][0]
            assert (shown["Type"], shown["Source"]) == ("disk", f"nbd://127.0.0.1:{port}/the%20data")
            told = hyper.out("inspect", "one") + all_that_can_be_seen(hyper)
            assert KEY not in told
            assert PASSWORD not in told
            second = hyper("run", "--rm", "--mount", mounts[0], BUSYBOX, "true", check=False)
            assert second.returncode == 125
            problem = f"disk nbd://127.0.0.1:{port}/the%20data is in use by container one"
            assert problem.encode() in second.stderr
        with attached(hyper, "one", b"later\n"), nbd_server(plain, port):
            hyper.wait_for_log("one", b"written")
            hyper("rm", "-f", "one")
    for disk, letter in zip(disks, "abcd", strict=True):
        assert content(disk, "note") == f"here is {letter}\n".encode()
    assert content(plain, "more") == b"later\n"


@needs_network_disks
def test_a_podfile_with_disks_of_the_network(hyper: Hyper, tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden/podfile/disks_of_the_network.json"
    document = json.loads(golden.read_text())
    old, plain, far, farther = disks = [
        ext4(tmp_path / f"{name}.raw") for name in "old plain far farther".split()
    ]
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "vdi", old, old.with_suffix(".vdi")], check=True
    )
    server, client = certificates(tmp_path, "localhost")
    word = secret(tmp_path / "word", PASSWORD)
    write = "for d in plain far farther; do echo $d > /$d/note; done; sync; touch /old/x"
    document["containers"][0] |= {"image": BUSYBOX, "command": ["sh", "-c", write]}
    with ExitStack() as serving:
        port = serving.enter_context(nbdkit(plain))
        words = ("--tls=require", f"--tls-certificates={server}", "--tls-verify-peer")
        tls_port = serving.enter_context(nbdkit(far, *words))
        scsi_port = serving.enter_context(tgt(farther, "bob", PASSWORD))
        sources = (
            str(old.with_suffix(".vdi")),
            f"nbd://127.0.0.1:{port}/plain",
            f"nbds://localhost:{tls_port}/far",
            f"iscsi://127.0.0.1:{scsi_port}/{TARGET}/1",
        )
        for volume, source in zip(document["volumes"], sources, strict=True):
            volume["source"] = source
        document["volumes"][2]["option"] = {"tlsCertificates": str(client)}
        document["volumes"][3]["option"] = {"user": "bob", "passwordFile": str(word)}
        hyper("run", "-d", "--podfile", "-", stdin=json.dumps(document).encode())
        assert hyper.out("wait", "db") == "1"
        assert b"touch: /old/x: Read-only file system" in hyper("logs", "db").stderr
        hyper("pod", "rm", "-f", "disks")
    for disk in disks[1:]:
        assert content(disk, "note") == f"{disk.stem}\n".encode()


@contextmanager
def attached(hyper: Hyper, name: str, typed: bytes) -> Iterator[None]:
    client = hyper.popen("attach", name, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert client.stdin is not None
    client.stdin.write(typed)
    client.stdin.flush()
    yield
    client.stdin.close()
    client.wait(timeout=30)


@needs_network_disks
def test_what_a_server_refuses(hyper: Hyper, tmp_path: Path) -> None:
    disk = ext4(tmp_path / "d.raw")
    server, client = certificates(tmp_path, "disks.example")

    def refused(mount: str) -> bytes:
        done = hyper("run", "--rm", "--mount", f"{mount},target=/d", BUSYBOX, "true", check=False)
        assert done.returncode == 125
        return done.stderr

    port = free_port()
    assert b"cannot be reached: Connection refused" in refused(f"type=nbd,source=nbd://127.0.0.1:{port}/")
    with nbd_server(disk, port):
        assert b"disk nbd://127.0.0.1" in refused(f"type=nbd,source=nbd://127.0.0.1:{port}/none")
    with nbdkit(disk, "--tls=require", f"--tls-certificates={server}", "--tls-verify-peer") as port:
        uri = f"nbds://127.0.0.1:{port}/,tls-certificates={client}"
        assert b"does not match the hostname other.example" in refused(
            f"type=nbd,source={uri},tls-hostname=other.example"
        )
        assert b"TLS" in (said := refused(f"type=nbd,source=nbd://127.0.0.1:{port}/")), said
        (client / "client-cert.pem").unlink()
        assert b"did not start: disk nbds://" in refused(f"type=nbd,source={uri},tls-hostname=disks.example")
    word = secret(tmp_path / "word", "another word, long\n")
    with tgt(disk, "bob", PASSWORD) as port:
        uri = f"iscsi://127.0.0.1:{port}/{TARGET}/1"
        said = refused(f"type=iscsi,source={uri},user=bob,password-file={word}")
        assert uri.encode() in said
        assert b"another word" not in said


def test_user_mode_linux_has_none(hyper: Hyper, hypervisor: str, tmp_path: Path) -> None:
    if hypervisor != "uml":
        pytest.skip("QEMU has them")
    with nbdkit(ext4(tmp_path / "d.raw")) as port:
        mount = ("--mount", f"type=nbd,source=nbd://127.0.0.1:{port}/,target=/d")
        done = hyper("run", "--rm", *mount, BUSYBOX, "true", check=False)
    assert done.returncode == 125
    assert (
        f"disk nbd://127.0.0.1:{port}/: User Mode Linux has no disks of the network".encode() in done.stderr
    )
    assert b"run it on QEMU" in done.stderr
