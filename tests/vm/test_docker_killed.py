"""`kill -9` of hyperd at seeded random moments of what Docker's clients ask for: they are told, or their connection
ends; what was said to be done is done, nothing is left of what was not, and it can be asked for again."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
from audit import Audit, daemon_pid, kill_process
from docker_verbs import FILE, IDLE, IMAGE, NETWORK, VERBS, VOLUME, WEB, Docker, Outcome, Verb, tar
from fake_registry import Fake
from hyper import Hyper
from soak import rounds

ROUNDS = rounds(short=3, soak=400)
ENDS_S = 90.0
SECOND = "localhost/second:1"
OWN = ("root/cache", "root/hyperd.log")  # what may come and grow
BYTES_PER_S = 8 << 20


@pytest.fixture
def registry() -> Iterator[Fake]:
    with Fake() as made:
        made.add_image("1", busybox_image.layer(), tar({"large": FILE}))
        made.bytes_per_s = BYTES_PER_S
        yield made


def test_hyperd_killed_while_docker_clients_ask(own_hyper: Hyper, registry: Fake) -> None:
    docker = Docker(own_hyper.run_dir / "docker.sock", f"{registry.host}/image:1")
    audit, rng = Audit(own_hyper), random.Random(5)
    furnished(docker)
    cleared(docker)
    before = files(own_hyper)
    names = list(VERBS)
    rng.shuffle(names)
    for number in range(ROUNDS):
        name = names[number % len(names)]
        verb, part = VERBS[name], rng.random() ** 1.7  # most of them are done soon
        furnished(docker)
        outcome = cut_off(own_hyper, docker, verb, part * verb.most_s)
        said = (number, name, part, outcome)
        audit.look()
        own_hyper("ps")
        assert not outcome.done or verb.kept(docker, outcome), said
        docker.ask("POST", f"/containers/{WEB}/unpause")
        audit.check()
        if verb.again:
            again = verb.ask(docker)
            assert again.status in verb.again and b'"errorDetail"' not in again.body, (said, again)
        cleared(docker)
        audit.nothing()
        assert files(own_hyper) == before, said
    assert "Traceback" not in own_hyper.log(), own_hyper.log()


def furnished(docker: Docker) -> None:
    """With all that the verbs are about."""
    for name in (WEB, IDLE):
        assert docker.create(name).status == 201
    assert docker.ask("POST", f"/containers/{WEB}/start").status == 204
    assert docker.ask("POST", "/networks/create", {"Name": NETWORK}).status == 201
    assert docker.ask("POST", "/volumes/create", {"Name": VOLUME}).status == 201
    second = busybox_image.archive([busybox_image.layer(), tar({"second": b"x"})], SECOND)
    assert docker.ask("POST", "/images/load", second).done


def cleared(docker: Docker) -> None:
    """Of all but the image."""
    for each in docker.ask("GET", "/containers/json", all=1).json:
        docker.ask("DELETE", f"/containers/{each['Id']}", force=1)
    docker.ask("POST", "/networks/prune")
    docker.ask("POST", "/volumes/prune", filters='{"all":["1"]}')
    for each in docker.ask("GET", "/images/json").json:
        for name in each["RepoTags"]:
            if name != IMAGE:
                docker.ask("DELETE", f"/images/{name}")
    docker.ask("POST", "/images/prune")


def cut_off(hyper: Hyper, docker: Docker, verb: Verb, after_s: float) -> Outcome:
    """What the client has of it whose hyperd is killed so long after it began to ask."""
    got: list[Outcome] = []
    asking = threading.Thread(target=lambda: got.append(verb.ask(docker)), daemon=True)
    asking.start()
    time.sleep(after_s)  # some moment, seeded; every one has to do
    assert kill_process(daemon_pid(hyper))
    asking.join(ENDS_S)
    assert got, f"no answer and no end within {ENDS_S:g} s"
    return got[0]


def files(hyper: Hyper) -> set[Path]:
    """All that there is of its directories."""
    found = (path.relative_to(hyper.base) for top in (hyper.root, hyper.run_dir) for path in top.rglob("*"))
    return {path for path in found if not str(path).startswith(OWN)}
