"""Images by Docker's own command line, from a real dockerd and from Hyper, with a registry each: the same is said, but
for what stands here with its reason."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import busybox_image
import dockerd
from dockerd import Docker
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from registry import Registry

IMAGE = busybox_image.REFERENCE
TIMEOUT_S = 60
NOBODY = "127.0.0.1:1/x"  # where nobody listens
_EACH_TIME = [
    (re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\bsize: \d+"), "SIZE"),  # Hyper's own manifests are OCI's, dockerd's are Docker's
    (re.compile(r"\b[\d.]+ ?[kM]?B\b"), "SIZE"),  # as erofs has it, not as tar
]


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    error: str


@dataclass(frozen=True)
class Sides:
    """``name``: of a repository that both have at a registry of their own."""

    docker: Docker
    socket: str
    name: str

    def run(self, *words: str, ours: bool, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        if not ours:
            return self.docker(*words, stdin=stdin)
        argv = [self.docker.client[0], "-H", self.socket, *words]
        return subprocess.run(
            argv, input=stdin, capture_output=True, timeout=TIMEOUT_S, env=self.docker.environment
        )

    def outcomes(self, *words: str, stdin: bytes = b"") -> list[Outcome]:
        """Docker's and Hyper's."""
        found = []
        for ours in (False, True):
            done = self.run(*words, ours=ours, stdin=stdin)
            found.append(Outcome(done.returncode, _plain(done.stdout), _plain(done.stderr)))
        return found

    def same(self, *words: str, stdin: bytes = b"") -> Outcome:
        theirs, ours = self.outcomes(*words, stdin=stdin)
        assert ours == theirs, " ".join(words)
        return ours

    def documents(self, path: str) -> list[Any]:
        found = []
        for socket in (self.docker.client[2], self.socket):
            argv = ["curl", "-sS", "--unix-socket", socket.removeprefix("unix://"), f"http://d/v1.41{path}"]
            found.append(json.loads(subprocess.run(argv, capture_output=True, check=True).stdout))
        return found


def _plain(text: bytes) -> str:
    said = text.decode()
    for pattern, word in _EACH_TIME:
        said = pattern.sub(word, said)
    return "\n".join(" ".join(line.split()) for line in said.splitlines())


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """One of its own: all that it has is listed."""
    try:
        with dockerd.dockerd() as made:
            assert made("load", stdin=busybox_image.archive([busybox_image.layer()])).returncode == 0
            yield made
    except dockerd.Absent as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def compared() -> Iterator[Hyper]:
    with hyper_context(NO_POOL) as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made


@pytest.fixture(scope="module")
def sides(docker: Docker, compared: Hyper) -> Iterator[Sides]:
    """Both with the one image IMAGE, as they are left again."""
    with Registry() as ours:
        port = int(ours.address.rpartition(":")[2])
        with Registry(port=port, beside=docker.first):
            made = Sides(docker, f"unix://{compared.run_dir}/docker.sock", f"{ours.address}/team/tool")
            yield made
            for side in (False, True):
                left = made.run("images", "--format", "{{.Repository}}:{{.Tag}}", ours=side).stdout.decode()
                made.run("rmi", "-f", *(name for name in left.split() if name != IMAGE), ours=side)


def test_pushed_and_pulled(sides: Sides) -> None:
    name, same = sides.name, sides.same
    same("tag", "nope", "x")
    assert same("tag", IMAGE, f"{name}:1").status == 0
    assert same("push", f"{name}:1").status == 0
    assert "Layer already exists" in same("push", f"{name}:1").out
    assert same("push", "-a", name).status == 0
    assert same("push", f"{name}:2").status == 1
    assert same("push", f"{name}/nope").status == 1
    theirs, listed = sides.outcomes("images", "--digests")
    assert sorted(listed.out.splitlines()) == sorted(theirs.out.splitlines())  # Docker's come in any order
    same("rmi", f"{name}:1")
    assert "Downloaded newer image" in same("pull", f"{name}:1").out
    assert "up to date" in same("pull", f"{name}:1").out
    same("pull", "-q", f"{name}:1")
    assert "up to date" in same("pull", "-a", name).out
    same("images", "--no-trunc", "--format", "{{.ID}} {{.Tag}} {{.CreatedAt}}", name)
    same("history", "--no-trunc", f"{name}:1")
    for ours in (False, True):
        assert sides.run("rmi", "-f", f"{name}:1", IMAGE, ours=ours).returncode == 0
    theirs, pulled = sides.outcomes("pull", f"{name}:1")
    verified = "ID: Verifying Checksum\n"
    assert verified in pulled.out  # dockerd leaves it out where it has been quick
    assert pulled.out.replace(verified, "") == theirs.out.replace(verified, "")
    assert "Pull complete" in pulled.out
    same("tag", f"{name}:1", IMAGE)


def test_what_fails(sides: Sides) -> None:
    for words in (
        ("rmi", "nope"),
        ("rmi", "-f", "nope"),
        ("image", "inspect", "nope"),
        ("history", "nope"),
        ("tag", IMAGE, "BAD"),
        ("image", "prune", "-f"),
    ):
        sides.same(*words)
    for words in (
        ("pull", f"{sides.name}/nope"),
        ("pull", f"{sides.name}@sha256:{'0' * 64}"),
        ("pull", NOBODY),
    ):
        theirs, ours = sides.outcomes(*words)
        assert (ours.status, ours.out) == (theirs.status, theirs.out)
        if words[1] != NOBODY:  # the registry's words stand there twice
            assert theirs.error.startswith(ours.error.rstrip())
    theirs, ours = sides.outcomes("load", stdin=b"garbage")
    assert ours.status == theirs.status == 1
    theirs, ours = sides.outcomes("import", "-", stdin=b"garbage")
    assert ours.status == theirs.status == 1


# Of an inspection: what is where, or is not kept.
PLACES = {"Size", "VirtualSize", "GraphDriver", "Metadata"}


def test_documents(sides: Sides) -> None:
    sides.outcomes("rmi", f"{sides.name}:1")  # another test's
    theirs, ours = sides.documents(f"/images/{IMAGE}/json")
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} == PLACES
    (theirs,), (ours,) = sides.documents("/images/json")
    assert ours.keys() == theirs.keys()
    different = {name for name in ours if ours[name] != theirs[name]}
    # No digests are null for this dockerd, [] for newer ones; containers are counted from 1.51 on.
    assert different == {"Size", "VirtualSize", "Containers", "RepoDigests"}
    (theirs,), (ours,) = sides.documents(f"/images/{IMAGE}/history")
    assert {name for name in ours if ours[name] != theirs[name]} == {"Size"}
    assert ours.keys() == theirs.keys()


def test_archives(sides: Sides) -> None:
    """What the one has saved, the other loads."""
    saved = [sides.run("save", IMAGE, ours=ours).stdout for ours in (False, True)]
    identifiers = sides.outcomes("images", "--no-trunc", "-q")
    for ours in (False, True):
        assert sides.run("rmi", "-f", IMAGE, ours=ours).returncode == 0
        loaded = sides.run("load", ours=ours, stdin=saved[not ours])
        assert (loaded.returncode, loaded.stdout) == (0, f"Loaded image: {IMAGE}\n".encode()), loaded
    assert sides.outcomes("images", "--no-trunc", "-q") == identifiers
    with tarfile.open(fileobj=io.BytesIO(saved[True])) as archive:
        assert {"manifest.json", "index.json", "oci-layout", "repositories"} < set(archive.getnames())
    root = busybox_image.layer()
    assert sides.same("import", "-c", "CMD x", "-m", "hello", "-", "imported:1", stdin=root).status == 0
    sides.same("image", "inspect", "-f", "{{json .Config}} {{.Comment}} {{.Architecture}}", "imported:1")
    sides.same("history", "--format", "{{.CreatedBy}} {{.Comment}}", "imported:1")
