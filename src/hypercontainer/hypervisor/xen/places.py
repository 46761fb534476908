"""What a run directory has of a domain of Xen besides."""

from __future__ import annotations

from pathlib import Path

from hypercontainer.hypervisor.run_dir import RunDir


class XenRunDir(RunDir):
    """``config`` is what xl reads; ``creating`` is locked as long as an xl is at work on the domain; of ``space`` there
    is one for each NIC that is NAT."""

    SPACE = "space"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.config = path / "domain.cfg"
        self.creating = path / "creating"

    def space(self, nic: int) -> Path:
        """The namespace of the NIC at this place of the specification."""
        return self.path / f"{self.SPACE}{nic}"
