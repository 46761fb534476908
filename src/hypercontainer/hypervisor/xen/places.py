"""What a run directory has of a domain of Xen besides."""

from __future__ import annotations

from pathlib import Path

from hypercontainer.hypervisor.run_dir import RunDir


class XenRunDir(RunDir):
    """``config`` is what xl reads; ``creating`` is locked as long as an xl is at work on the domain."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.config = path / "domain.cfg"
        self.creating = path / "creating"
