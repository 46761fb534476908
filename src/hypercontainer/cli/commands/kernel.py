"""hyper kernel: the kernels that VMs can boot."""

from __future__ import annotations

from hypercontainer.cli.listing import FORMAT, QUIET, Listing
from hypercontainer.cli.options import Call, Command, text
from hypercontainer.cli.session import tell
from hypercontainer.linux.architectures import AMD64

LISTING = Listing(
    {
        "Name": "NAME",
        "Version": "VERSION",
        "Source": "SOURCE",
        "Architecture": "ARCHITECTURE",
        "Hypervisor": "HYPERVISOR",
        "Default": "DEFAULT",
        "Path": "PATH",
    },
    ("Name", "Version", "Source", "Architecture", "Hypervisor", "Default", "Path"),
)


def ls(call: Call) -> int:
    found = call.session.client.call("system.kernels")["kernels"]
    rows = [
        {
            "Name": kernel["name"],
            "Version": kernel["version"],
            "Source": kernel["source"],
            "Architecture": kernel.get("architecture", AMD64),
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
    from hypercontainer.image import platforms

    wanted = call.options.text("platform")
    architecture = platforms.parse(wanted).architecture if wanted else AMD64
    kernel = KernelStore(Path(cache)).fetch_debian(tell, architecture)
    print(kernel.path)
    return 0


LS = Command(ls, "[OPTIONS]", options=(FORMAT, QUIET), examples=("hyper kernel ls",))
FETCH = Command(
    fetch,
    "[OPTIONS]",
    options=(text("--platform", "OS/ARCH", "for VMs of another architecture, such as linux/arm64"),),
    text="The package is unpacked into the cache, not installed. The project's own kernel boots faster: make kernel.",
    examples=("hyper kernel fetch", "hyper kernel fetch --platform linux/arm64"),
)
