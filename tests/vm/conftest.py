"""One hyperd for the tests with real guests, real images in a real registry, and a look at what each test leaves."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import audit
import busybox_image
import real_images
from hyper import KEEPERS, MAKING, NO_POOL, Hyper
from hyper import hyper as hyper_context
from manifests import Cluster
from registry import Registry
from soak import rounds
from uml_kernel import has_uml, uml_kernel
from until import until

BUSYBOX = busybox_image.REFERENCE
TO_REGISTRY = ("--dest-tls-verify=false", "--dest-compress-level=1")


# Modules that test what hyperd, its clients and its helpers do on the host, where one guest is like another, and what
# hyperstart and an image do in any guest.  `make test` has their tests on User Mode Linux, where there is one, and
# those that are marked ``each_driver`` on QEMU too; `make soak` has all on every driver.
ALIKE = frozenset(
    f"test_{name}"
    for name in (
        "cni commit cp docker_create docker_killed docker_looking docker_networks docker_socket egress full_disk "
        "guest_container guest_files guest_in_vm guest_pod guest_process guest_streams guest_volumes "
        "hyperd_dies image_volumes killed_database killed_pods kubernetes kubernetes_life kubernetes_probes "
        "lazy lifecycle networks networks_of_users nfs podfiles pods real_images run sdk services shared_pull "
        "terminal timings volume_copies"
    ).split()
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vm)
    if rounds(short=1, soak=0) and has_uml():
        left_out = {item for item in items if here in item.path.parents and _is_for_soak(item)}
        config.hook.pytest_deselected(items=[*left_out])
        items[:] = [item for item in items if item not in left_out]


def _is_for_soak(item: pytest.Item) -> bool:
    """On QEMU, what User Mode Linux shows as well."""
    on = getattr(item, "callspec", None)
    needed = {what for mark in item.iter_markers("needs") for what in mark.args}
    on_qemu = on is not None and on.params.get("hypervisor") == "qemu"
    wanted = item.get_closest_marker("each_driver") is not None or needed & LACKING["uml"]
    of_user = (
        on is not None and on.params.get("owner") == "user"
    )  # whose networks' ways are the same for every driver
    return item.path.stem in ALIKE and on_qemu and (of_user or not wanted)


# What a driver's capabilities say that it has not, and a test may need: ``@pytest.mark.needs("templates")``.
LACKING = {
    "qemu": frozenset({"user mode linux"}),
    "uml": frozenset({"templates", "9p", "qcow2", "network disks", "several processors", "qemu"}),
}


@pytest.fixture(scope="session", params=LACKING)
def hypervisor(request: pytest.FixtureRequest) -> str:
    if request.param == "uml":
        uml_kernel()
    return str(request.param)


@pytest.fixture(autouse=True)
def _has_what_is_needed(request: pytest.FixtureRequest) -> None:
    if "hypervisor" not in request.fixturenames:
        return
    name = request.getfixturevalue("hypervisor")
    needed = {what for mark in request.node.iter_markers("needs") for what in mark.args}
    if missing := needed & LACKING[name]:
        pytest.skip(f"{name} has no {', no '.join(sorted(missing))}")


@pytest.fixture(scope="session")
def shared(hypervisor: str) -> Iterator[Hyper]:
    """A hyperd with the busybox image, for all tests that do not harm it."""
    with hyper_context(NO_POOL, hypervisor=hypervisor) as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made


@pytest.fixture
def hyper(shared: Hyper) -> Iterator[Hyper]:
    """``shared``, with the proof after each test that no VM, process, mount or file of it is left."""
    yield shared
    shared.remove_all()
    volumes = shared.root / "volumes"
    if volumes.is_dir() and any(volumes.iterdir()) and (left := shared.out("volume", "ls", "-q").split()):
        shared("volume", "rm", *left, check=False)
    own = (f"process {audit.daemon_pid(shared)} ", *KEEPERS, MAKING)

    def remains() -> list[str]:
        return [line for line in shared.leftovers() if not any(text in line for text in own)]

    with contextlib.suppress(AssertionError):  # the directory of a VM that has ended goes in the same moment
        until(lambda: not remains(), "nothing is left", deadline_s=3)
    assert not (found := remains()), "left behind:\n" + "\n".join(found)


@pytest.fixture
def cluster(hyper: Hyper) -> Iterator[Cluster]:
    made = Cluster(hyper)
    yield made
    made.close()


@pytest.fixture
def own_hyper(hypervisor: str) -> Iterator[Hyper]:
    """A hyperd for one test, which may kill it."""
    with hyper_context(NO_POOL, hypervisor=hypervisor) as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    with Registry() as made:
        yield made


@pytest.fixture
def real_image(shared: Hyper, registry: Registry) -> object:
    """A function: the name of a recipe -> the reference of its image, pushed to the registry and pulled from there.

    Not the session's, unlike what it makes: some modules have a ``shared`` of their own."""

    def get(name: str) -> str:
        reference = f"{registry.address}/{name}:latest"
        if not shared.out("images", "-q", reference):
            source = f"docker-archive:{real_images.path(name)}"
            subprocess.run(
                ["skopeo", "copy", "-q", *TO_REGISTRY, source, f"docker://{reference}"], check=True
            )
            shared("pull", "-q", reference, timeout_s=300)
        return reference

    return get
