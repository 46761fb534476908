"""What guests of VirtualBox need that others do not: a disc that starts them, a line that loses nothing."""

from __future__ import annotations

from pathlib import Path

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor import boot_iso
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.boot_iso import Loader
from hypercontainer.hypervisor.line_pipe import LinePipe
from hypercontainer.hypervisor.spec import VMSpec


def write_disc(spec: VMSpec, path: Path) -> None:
    """Raises what ``boot_iso.write`` does.  Blocks."""
    if spec.initrd is None:
        raise InvalidArgument("a VM of VirtualBox is started with an initrd")
    boot_iso.write(path, boot_iso.for_loaders(spec.kernel), spec.initrd, spec.kernel_args, Loader())


async def reliable(pair: Pair) -> Pair:
    """The agent's bytes, of a serial port's; the port is let go of when the streams are."""
    _, reader, writer = await LinePipe.open(*pair)
    return reader, writer
