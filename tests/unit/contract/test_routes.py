"""The routes as data: what they name is there, and nothing is loaded for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hypercontainer.contract.routes import BYTES, FRAMES, JSON, LINES, NAMES, TAR, Route, routes
from hypercontainer.surfaces.hyper.typed import OPERATIONS

each_route = pytest.mark.parametrize("route", routes(), ids=NAMES)


def test_the_command_line_can_afford_them() -> None:
    code = (
        "import sys; before = {*sys.modules}; import hypercontainer.contract.routes;"
        "print(*({*sys.modules} - before - {'__future__'}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name.startswith("hypercontainer") for name in loaded.stdout.split()), loaded.stdout


def test_each_stands_once() -> None:
    assert len(NAMES) == len({(each.method, each.path) for each in routes()})
    assert len(OPERATIONS) == len(NAMES)  # whose types are all there


@each_route
def test_a_route_is_consistent(route: Route) -> None:
    assert route.path.startswith("/v1/")
    assert route.summary.endswith(".")
    assert route.gives in (JSON, LINES, FRAMES, TAR, BYTES)
    if route.gives == JSON:
        assert (not route.answer) == (route.status in (202, 204))
    assert not route.silent or route.progress
    if route.id_as or route.also_of_one:
        assert "ID" in route.segments


@each_route
def test_a_path_of_an_object(route: Route) -> None:
    assert "ID" not in route.path_of("web").split("/")
    assert ("web" in route.path_of("web")) == ("ID" in route.segments)
