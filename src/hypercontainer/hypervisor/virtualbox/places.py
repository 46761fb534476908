"""What a run directory has of a VM of VirtualBox besides."""

from __future__ import annotations

from pathlib import Path

from hypercontainer.hypervisor.run_dir import RunDir

GROUP = "/hyper"  # VirtualBox's, of all VMs that are ours
PREFIX = "hyper-"
_MAX_SOCKET_BYTES = 107  # sockaddr_un, less the final NUL (unix(7)); VirtualBox takes the path as it is


def machine_name(vm_id: str) -> str:
    return PREFIX + vm_id


class VirtualBoxRunDir(RunDir):
    """``machines`` is where VirtualBox makes the VM's folder ``machine``; ``boot`` the disc that the guest is started
    from; ``disks`` has it, and what describes the others."""

    def __init__(self, path: Path, vm_id: str) -> None:
        super().__init__(path)
        self.console = path / "console"
        self.disks = path / "disks"
        self.boot = self.disks / "boot.iso"
        self.machines = path / "machines"
        self.machine = self.machines / GROUP.strip("/") / machine_name(vm_id)
        self.logs = self.machine / "Logs"
        self.log = self.logs / "VBox.log"

    @property
    def reachable(self) -> bool:
        """Whether VirtualBox can make its socket here."""
        return len(str(self.agent).encode()) <= _MAX_SOCKET_BYTES

    def descriptor(self, serial: str) -> Path:
        return self.disks / f"{serial}.vmdk"
