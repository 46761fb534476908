"""The engine's face: the fake has the real one's signatures, and every route finds the method that it names."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any, get_type_hints

import msgspec
import pytest

import fake_builds
import fake_collections
import fake_engine
import fake_policies
from hypercontainer.contract.calls import Nothing, Request, Wrapper
from hypercontainer.contract.routes import JSON, LINES
from hypercontainer.engine.build.build import Build
from hypercontainer.engine.build.builds import BuildService
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.images import ImageService
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.sandbox.execs import Exec
from hypercontainer.engine.service.containers import ContainerService
from hypercontainer.engine.service.networks import NetworkService
from hypercontainer.engine.service.pods import PodService
from hypercontainer.engine.service.policies import PolicyService
from hypercontainer.engine.service.system import SystemService
from hypercontainer.engine.service.volumes import VolumeService
from hypercontainer.surfaces.hyper.handlers import HANDLERS
from hypercontainer.surfaces.hyper.typed import OPERATIONS, Operation
from hypercontainer.surfaces.kube.manifests import Manifests

# What a route's method is one of: by the collection, of itself or of what it holds.
FAKES: dict[tuple[str, bool], tuple[type, type | None]] = {
    ("containers", False): (fake_engine.FakeContainers, ContainerService),
    ("containers", True): (fake_engine.FakeContainer, Container),
    ("execs", True): (fake_engine.FakeExec, Exec),
    ("pods", False): (fake_engine.FakePods, PodService),
    ("pods", True): (fake_engine.FakePod, Pod),
    ("volumes", False): (fake_collections.FakeVolumes, VolumeService),
    ("networks", False): (fake_collections.FakeNetworks, NetworkService),
    ("policies", False): (fake_policies.FakePolicies, PolicyService),
    ("images", False): (fake_collections.FakeImages, ImageService),
    ("builds", False): (fake_builds.FakeBuilds, BuildService),
    ("builds", True): (fake_builds.FakeBuild, Build),
    ("system", False): (fake_collections.FakeSystem, SystemService),
    ("manifests", False): (fake_collections.FakeManifests, Manifests),
}
# Calls that hyperd itself answers.
OWN = {"system.ping", "system.openapi", "system.shutdown"}
OF_THE_ENGINE = [each for each in OPERATIONS if each.route.name not in OWN]


def method_of(each: Operation, side: int) -> Any:
    collection, _, name = each.route.does.partition(".")
    owner = FAKES[collection, "ID" in each.segments and not each.route.id_as][side]
    return getattr(owner, name)


def face(method: Any) -> list[tuple[str, Any, Any]]:
    """(name, kind, default) of each parameter; no filters are none, however that is said."""
    found = inspect.signature(method).parameters.values()
    return [
        (each.name, each.kind, None if each.name == "filters" else each.default)
        for each in found
        if each.name != "self"
    ]


@pytest.mark.parametrize("each", OF_THE_ENGINE, ids=lambda each: each.route.name)
def test_the_fake_has_the_real_signature(each: Operation) -> None:
    fake, real = method_of(each, 0), method_of(each, 1)
    assert face(fake) == face(real)
    assert inspect.iscoroutinefunction(fake) == inspect.iscoroutinefunction(real)


@pytest.mark.parametrize(
    ("fake", "real"),
    [
        (fake_engine.FakeContainers, ContainerService),
        (fake_engine.FakePods, PodService),
    ],
    ids=["containers", "pods"],
)
def test_what_is_held_is_found_alike(fake: Any, real: Any) -> None:
    assert face(fake.held) == face(real.held)
    assert inspect.iscoroutinefunction(real.held)


@pytest.mark.parametrize("each", OF_THE_ENGINE, ids=lambda each: each.route.name)
def test_a_method_takes_what_its_route_reads(each: Operation) -> None:
    """By keyword, each under its name in the call; a handler may know better with some of them."""
    route = each.route
    given = {item.name for item in msgspec.structs.fields(each.query)}
    if issubclass(each.body, Request):
        given |= {item.name for item in msgspec.structs.fields(each.body)}
    else:
        given.add("spec")
    if route.name in ("containers.stats", "pods.stats"):
        given.remove("stream")  # whether it is asked for once or every second
    if route.name == "pods.create":
        given.remove("start")
    if route.takes != JSON:
        given.add("content" if route.name == "containers.write_file" else "stream")
    if route.id_as:
        given.add(route.id_as)
    if route.credentials:
        given |= {"credentials", "asked_by"}
    if route.progress and not route.silent:
        given.add("progress")
    if route.name in ("containers.run", "images.build"):
        given |= {"progress", "created"}
    if route.name == "images.save":
        given.add("out")
    inspect.signature(method_of(each, 0)).bind(None, **dict.fromkeys(given))


@pytest.mark.parametrize(
    "each",
    [each for each in OF_THE_ENGINE if each.route.name not in HANDLERS],
    ids=lambda each: each.route.name,
)
def test_a_method_gives_what_its_route_answers(each: Operation) -> None:
    answer = each.answer
    if isinstance(answer, type) and issubclass(answer, Wrapper):
        answer = msgspec.structs.fields(answer)[0].type
    if each.route.gives == LINES and not each.route.progress:
        answer = AsyncIterator[answer]  # type: ignore[valid-type]
    for side in (0, 1):
        given = get_type_hints(method_of(each, side))["return"]
        assert given == (type(None) if answer is None else answer)


def test_a_handler_is_of_a_route_that_there_is() -> None:
    assert HANDLERS.keys() <= {each.route.name for each in OPERATIONS}
    assert all(each.body is Nothing for each in OPERATIONS if each.route.takes != JSON)
