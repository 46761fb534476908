"""hyper version: light, since it is what shows how quickly the command line starts."""

from __future__ import annotations

import os
import sys

from hypercontainer import __version__
from hypercontainer.cli.options import Call, Command, text
from hypercontainer.client.api import NotRunning
from hypercontainer.errors import HyperError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

API_VERSION = "1"

SERVER_LINES = (
    ("Version", "version"),
    ("API version", "api_version"),
    ("Python", "python"),
    ("QEMU", "qemu"),
    ("Kernel", "kernel"),
    ("Agent", "agent"),
)


def client_versions() -> dict[str, str]:
    machine = os.uname()
    return {
        "version": __version__,
        "api_version": API_VERSION,
        "python": sys.version.split()[0],
        "os": machine.sysname.lower(),
        "arch": machine.machine,
    }


def run(call: Call) -> int:
    own = client_versions()
    server: dict[str, Any] | None = None
    problem = "not running"
    try:
        server = call.session.connect(start=False).call("system.version")
    except NotRunning:
        pass
    except HyperError as error:
        problem = error.message
    form = call.options.text("format")
    if form:
        return _formatted(form, own, server)
    lines = [
        "Client: Hyper",
        f" Version:      {own['version']}",
        f" API version:  {own['api_version']}",
        f" Python:       {own['python']}",
        f" OS/Arch:      {own['os']}/{own['arch']}",
        "",
    ]
    if server is None:
        lines.append(f"hyperd: {problem}")
    else:
        lines.append("Server: hyperd")
        lines += [f" {title + ':':<13} {server.get(key) or 'unknown'}" for title, key in SERVER_LINES]
        lines.append(f" OS/Arch:      {server.get('os', '?')}/{server.get('arch', '?')}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _formatted(form: str, own: dict[str, str], server: dict[str, Any] | None) -> int:
    from hypercontainer.cli.listing import unescape
    from hypercontainer.cli.template import compile_template

    def shaped(part: dict[str, Any] | None) -> dict[str, Any] | None:
        return part and {
            {"api_version": "ApiVersion", "qemu": "QEMU"}.get(key, key.capitalize()): value
            for key, value in part.items()
        }

    source = "{{json .}}" if form == "json" else unescape(form)
    sys.stdout.write(compile_template(source)({"Client": shaped(own), "Server": shaped(server)}) + "\n")
    return 0


VERSION = Command(
    run,
    "[OPTIONS]",
    options=(text("-f --format", "TEMPLATE", "'json' or a Go template such as '{{.Client.Version}}'"),),
    text="hyperd is not started for this.",
    examples=("hyper version", "hyper version --format json"),
)
