"""What a run directory has of a VM of User Mode Linux besides."""

from __future__ import annotations

from pathlib import Path

from hypercontainer.hypervisor.run_dir import RunDir


class UmlRunDir(RunDir):
    """``agent_in`` is what the guest reads; ``full`` is told when the host is; ``units`` says which disk is where, and
    ``nics`` which network interface."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.agent_in = path / "agent.in"
        self.agent_out = path / "agent.out"
        self.console = path / "console"
        self.control = path / "control.sock"
        self.full = path / "full"
        self.units = path / "units.json"
        self.nics = path / "nics.json"
