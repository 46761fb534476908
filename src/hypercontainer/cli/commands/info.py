"""hyper info and doctor."""

from __future__ import annotations

import sys

from hypercontainer.cli.listing import unescape
from hypercontainer.cli.options import Call, Command, text
from hypercontainer.cli.units import binary_size
from hypercontainer.linux.architectures import ALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TITLES = {
    "DaemonPid": "hyperd's PID",
    "ServerVersion": "Version",
    "Containers": "Containers",
    "ContainersRunning": " Running",
    "ContainersPaused": " Paused",
    "ContainersStopped": " Stopped",
    "AcceleratorReason": " Reason",
    "NotLimited": "Not limited",
    "Verity": "Images verified by guests",
    "ReadyClones": " VMs ready",
    "DefaultMemory": "Default memory",
    "DefaultCpus": "Default CPUs",
    "Root": "State directory",
    "Run": "Run directory",
    "DockerHost": "Docker's API",
    "ConfigFile": "Configuration file",
    "SetAside": "Set aside",
    "OperatingSystem": "Operating system",
    "KernelVersion": "Host kernel",
    "Kernel": "Guest kernel",
    "Architectures": "VMs for",
    "NCPU": "CPUs",
    "MemTotal": "Total memory",
    "SystemTime": "System time",
}
# The command that does what a remedy of hyperd's ends with.
COMMANDS = {"fetch Debian's": "hyper kernel fetch", "are not used": "hyper system prune"}
COMMANDS |= {f"fetch Debian's for {each}": f"hyper kernel fetch --platform linux/{each}" for each in ALL}
SIZES = frozenset(("DefaultMemory", "MemTotal"))


def shown(key: str, value: Any) -> str:
    if key in SIZES and isinstance(value, int):
        return binary_size(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "-"
    return str(value) if value not in ("", None) else "-"


def info(call: Call) -> int:
    found = call.session.client.call("system.info")
    form = call.options.text("format")
    if form:
        from hypercontainer.cli.template import compile_template

        source = "{{json .}}" if form == "json" else unescape(form)
        sys.stdout.write(compile_template(source)(found) + "\n")
        return 0
    for key, value in found.items():
        print(f"{TITLES.get(key, key)}: {shown(key, value)}")
    return 0


MARKS = {True: "✓", False: "✗", None: "-"}


def worded(remedy: str) -> str:
    commands = (command for end, command in COMMANDS.items() if remedy.endswith(end))
    return "".join((remedy, *(f", with `{command}`" for command in commands)))


def doctor(call: Call) -> int:
    """1 if something that is needed is not there."""
    checks = call.session.client.call("system.doctor")["checks"]
    if call.options.text("format") == "json":
        import json

        print(json.dumps(checks, ensure_ascii=False))
    else:
        encoding = (sys.stdout.encoding or "ascii").lower()
        marks = MARKS if encoding.startswith("utf") else {True: "ok", False: "FAILED", None: "-"}
        for check in checks:
            print(f"{marks[check['ok']]} {check['name']}: {check['detail']}")
            if check["ok"] is not True and check.get("remedy"):
                print(f"    remedy: {worded(check['remedy'])}")
    return 1 if any(check["ok"] is False for check in checks) else 0


INFO = Command(
    info,
    "[OPTIONS]",
    options=(text("-f --format", "TEMPLATE", "'json' or a Go template such as '{{.DaemonPid}}'"),),
    examples=("hyper info", "hyper info --format json"),
)
DOCTOR = Command(
    doctor,
    "[OPTIONS]",
    options=(text("--format", "FORMAT", "'json' in place of lines for people"),),
    text="The exit status is 1 if something that is needed is missing or broken.",
    examples=("hyper doctor",),
)
