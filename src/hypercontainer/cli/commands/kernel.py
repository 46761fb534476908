"""hyper kernel: the kernels that VMs can boot."""

from __future__ import annotations

from hypercontainer.cli.listing import FORMAT, QUIET, Listing
from hypercontainer.cli.options import Call, Command
from hypercontainer.cli.session import tell

LISTING = Listing(
    {
        "Name": "NAME",
        "Version": "VERSION",
        "Source": "SOURCE",
        "Hypervisor": "HYPERVISOR",
        "Default": "DEFAULT",
        "Path": "PATH",
    },
    ("Name", "Version", "Source", "Hypervisor", "Default", "Path"),
)


def ls(call: Call) -> int:
    found = call.session.client.call("system.kernels")["kernels"]
    rows = [
        {
            "Name": kernel["name"],
            "Version": kernel["version"],
            "Source": kernel["source"],
            "Hypervisor": kernel.get("hypervisor", ""),
            "Default": "yes" if kernel["default"] else "",
            "Path": kernel["path"],
        }
        for kernel in found
    ]
    LISTING.show(rows, call.options, only="Name")
    return 0


def fetch(call: Call) -> int:
    from pathlib import Path

    from hypercontainer.config import locations
    from hypercontainer.kernel.store import KernelStore

    cache = locations(file=call.session.config or None).cache
    kernel = KernelStore(Path(cache)).fetch_debian(tell)
    print(kernel.path)
    return 0


LS = Command(ls, "[OPTIONS]", options=(FORMAT, QUIET), examples=("hyper kernel ls",))
FETCH = Command(
    fetch,
    "",
    text="The package is unpacked into the cache, not installed. The project's own kernel boots faster: make kernel.",
    examples=("hyper kernel fetch",),
)
