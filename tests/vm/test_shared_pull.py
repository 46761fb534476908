"""Two clients pull one large image at once: it crosses the wire once, and both have it."""

from __future__ import annotations

import hashlib
import random
import subprocess
import threading

import busybox_image
import layer_tar as lt
from fake_registry import Fake, Handler
from hyper import Hyper

MIB = 1 << 20
LARGE_MIB = 256


def test_two_pulls_share_the_work(own_hyper: Hyper) -> None:
    piece = random.Random(1).randbytes(MIB)
    large = lt.tar(lt.header(b"large", size=LARGE_MIB * MIB) + piece * LARGE_MIB)
    asked = threading.Semaphore(0)

    def let_the_client_in(_: Handler) -> bool:
        asked.release()
        return False  # and answer as always

    def wait_for_both_clients(_: Handler) -> bool:
        assert all(asked.acquire(timeout=60) for _ in range(2))
        return False

    with Fake() as registry:
        registry.add_image("1", busybox_image.layer(), large, level=0)
        digests = registry.layers("1")
        registry.fail("/manifests/1", let_the_client_in, let_the_client_in)
        registry.fail(digests[1], wait_for_both_clients)
        reference = f"{registry.host}/large:1"
        clients = [
            own_hyper.popen("pull", reference, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(2)
        ]
        outputs = [client.communicate(timeout=120) for client in clients]
        assert [client.returncode for client in clients] == [0, 0], outputs
        assert all(reference.encode() in out for out, _ in outputs)
        assert [len(registry.asked(digest)) for digest in digests] == [1, 1]
    assert (
        own_hyper.out("images", "--format", "{{.Repository}}:{{.Tag}}", registry.host + "/large") == reference
    )
    script = f"stat -c %s /large; tail -c {MIB} /large | sha256sum"
    size, digest, _ = own_hyper.out("run", "--rm", reference, "sh", "-c", script).split()
    assert (int(size), digest) == (LARGE_MIB * MIB, hashlib.sha256(piece).hexdigest())
