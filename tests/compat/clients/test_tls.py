"""docker 28.5 over TCP, by TLS with certificates on both sides: who gets in, and what a name may do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from authority import Authority
from docker_clients import Clients
from docker_sdk import BUSYBOX, load, sdk_of
from free_port import free_port
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from soak import rounds
from uml_kernel import has_uml

soak_only = pytest.mark.skipif(not rounds(short=0, soak=1), reason="make soak has it")
ROLES = {"alice": "admin", "ci.example.org": "operate", "eve": "read"}
FORBIDDEN = (b"may look, and no more", b"received 403")  # the second of what is to be upgraded
# What is refused to who may look; $T is a directory.
CHANGES = (
    ("run", BUSYBOX),
    ("attach", "--no-stdin", "here"),
    ("exec", "here", "id"),
    ("cp", "here:/etc/group", "$T"),
    ("cp", "$T", "here:/"),
    ("export", "here"),
    ("save", "-o", "$T/saved", BUSYBOX),
    ("kill", "here"),
    ("rm", "-f", "here"),
    ("tag", BUSYBOX, "other"),
    ("pull", "127.0.0.1:9/none"),
    ("volume", "create", "mine"),
    ("network", "prune", "-f"),
    ("system", "prune", "-f"),
    ("build", "$T"),
)
DOCKERFILE = b"FROM busybox\nRUN true\n"


@dataclass
class Far:
    """A hyperd that serves TCP, and its clients, each with a certificate."""

    hyper: Hyper
    near: Clients
    port: int
    authority: Authority
    _issued: dict[str, tuple[Path, Path]] = field(default_factory=dict)

    def words(self, name: str) -> list[str]:
        """Of the command line; "": without a certificate."""
        ca = self.authority.folder / "ca.pem"
        words = ["-H", f"tcp://localhost:{self.port}", "--tlsverify", "--tlscacert", str(ca)]
        if name and name not in self._issued:
            self._issued[name] = self.authority.issue(name)
        certificate, key = self._issued.get(name, ("/nonexistent", "/nonexistent"))
        return [*words, "--tlscert", str(certificate), "--tlskey", str(key)]

    def say(self, name: str, *words: str, stdin: bytes = b"") -> tuple[int, bytes]:
        """As who has this certificate: the status, and all that is said."""
        done = self.near.docker(*self.words(name), *words, stdin=stdin, check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    folder, port = tmp_path_factory.mktemp("tls"), free_port()
    authority = Authority(folder)
    certificate, key = authority.issue("server", "localhost")
    roles = "".join(f'"{name}" = "{role}"\n' for name, role in ROLES.items())
    tls = f'ca = "{folder}/ca.pem"\ncertificate = "{certificate}"\nkey = "{key}"\n'
    config = f'{NO_POOL}[docker]\ntcp = "127.0.0.1:{port}"\n[docker.tls]\n{tls}[docker.tls.roles]\n{roles}'
    with contextlib.ExitStack() as stack:
        hyper = stack.enter_context(hyper_context(config, hypervisor="uml" if has_uml() else "qemu"))
        hyper("info")
        near = Clients(hyper.run_dir / "docker.sock", folder / "near")
        near.folder.mkdir()
        with sdk_of(near) as sdk:
            load(sdk)
        yield Far(hyper, near, port, authority)


def test_streams_go_through_tls(far: Far, tmp_path: Path) -> None:
    """Ends of one direction among them."""
    say = far.say
    assert say("alice", "run", "-i", "--name", "one", BUSYBOX, "sh", "-c", "cat; exit 3", stdin=b"in\n") == (
        3,
        b"in\n",
    )
    assert say("alice", "logs", "-f", "one") == (0, b"in\n")
    assert say("ci.example.org", "run", "-d", "--name", "two", "--init", BUSYBOX, "sleep", "300")[0] == 0
    assert say("ci.example.org", "exec", "-i", "two", "cat", stdin=b"more\n") == (0, b"more\n")
    (tmp_path / "file").write_bytes(b"carried\n")
    assert say("ci.example.org", "cp", str(tmp_path / "file"), "two:/tmp/file")[0] == 0
    assert say("ci.example.org", "cp", "two:/tmp/file", str(tmp_path / "back"))[0] == 0
    assert (tmp_path / "back").read_bytes() == b"carried\n"
    assert say("alice", "rm", "-f", "one", "two")[0] == 0


@soak_only
def test_a_role_is_kept_to(far: Far, tmp_path: Path) -> None:
    say = far.say
    (tmp_path / "Dockerfile").write_bytes(DOCKERFILE)
    assert say("alice", "run", "-d", "-i", "--name", "here", BUSYBOX, "sh", "-c", "echo said; cat")[0] == 0
    assert say("eve", "ps", "--format", "{{.Names}}") == (0, b"here\n")
    for look in (
        ("inspect", "here"),
        ("images",),
        ("info",),
        ("version",),
        ("top", "here"),
        ("port", "here"),
    ):
        assert say("eve", *look)[0] == 0, look
    assert say("eve", "logs", "here") == (0, b"said\n")
    for words in CHANGES:
        change = [word.replace("$T", str(tmp_path)) for word in words]
        status, said = say("eve", *change)
        assert status != 0 and any(each in said for each in FORBIDDEN), (change, said)
    assert say("ci.example.org", "run", "--rm", "-v", "/etc:/host", BUSYBOX, "true")[0] == 125
    assert say("alice", "run", "--rm", "-v", f"{tmp_path}:/host", BUSYBOX, "cat", "/host/Dockerfile") == (
        0,
        DOCKERFILE,
    )
    status, said = say("mallory", "ps")
    assert status == 1 and b"has no role here" in said
    assert say("alice", "rm", "-f", "here")[0] == 0


def test_nobody_is_let_in_without_a_certificate(far: Far, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    strangers = Authority(tmp_path / "other").issue("alice")
    asking = ["-H", f"tcp://localhost:{far.port}"]
    seen = ["--tls", "--tlscacert", str(far.authority.folder / "ca.pem")]
    theirs = ["--tlscert", str(strangers[0]), "--tlskey", str(strangers[1])]
    for words in (asking, [*asking, "--tls"], [*asking, *seen, *theirs]):
        done = far.near.docker(*words, "ps", check=False)
        assert done.returncode == 1 and not done.stdout, words


@soak_only
def test_a_context_leads_there(far: Far) -> None:
    *_, ca, _, certificate, _, key = far.words("eve")
    words = ("--host", f"tcp://localhost:{far.port}", "--ca", ca, "--cert", certificate, "--key", key)
    config = {"DOCKER_CONFIG": far.near.environment["DOCKER_CONFIG"]}
    far.near.run_argv(far.hyper.argv("context", "use", "far", *words), more=config)
    led = {"DOCKER_HOST": "", **config}
    assert far.near.docker("context", "show", more=led).stdout == b"far\n"
    assert far.near.docker("images", "-q", more=led).stdout.strip()
    refused = far.near.docker("tag", BUSYBOX, "other", more=led, check=False)
    assert refused.returncode == 1 and FORBIDDEN[0] in refused.stderr
    far.near.run_argv(far.hyper.argv("context", "rm", "far"), more=config)
