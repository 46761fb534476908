"""The routes as data: what they name is there, and nothing is loaded for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hypercontainer.contract.routes import BYTES, FRAMES, JSON, LINES, ROUTES, TAR, Route
from hypercontainer.surfaces.hyper.typed import OPERATIONS

routes = pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)


def test_the_command_line_can_afford_them() -> None:
    code = (
        "import sys; before = {*sys.modules}; import hypercontainer.contract.routes;"
        "print(*({*sys.modules} - before - {'__future__'}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name.startswith("hypercontainer") for name in loaded.stdout.split()), loaded.stdout


def test_each_stands_once() -> None:
    assert len(ROUTES) == len({(route.method, route.path) for route in ROUTES.values()})
    assert len(OPERATIONS) == len(ROUTES)  # whose types are all there


@routes
def test_a_route_is_consistent(route: Route) -> None:
    assert route.path.startswith("/v1/")
    assert route.summary.endswith(".")
    assert route.gives in (JSON, LINES, FRAMES, TAR, BYTES)
    if route.gives == JSON:
        assert (not route.answer) == (route.status in (202, 204))
    assert not route.silent or route.progress
    if route.id_as or route.also_of_one:
        assert "ID" in route.segments


@routes
def test_a_path_of_an_object(route: Route) -> None:
    assert "ID" not in route.path_of("web").split("/")
    assert ("web" in route.path_of("web")) == ("ID" in route.segments)
