"""A kernel for Xen's PV guests that does what a letter says (xen_letters.S): it needs no second, and 16 MiB."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".S")
# From its start to its end: there is time to pause it before, by an xl in two emulations.
SECONDS = 4


def build(into: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        made = Path(work) / "letters.o"
        subprocess.run(["as", "--64", "--defsym", f"SECONDS={SECONDS}", "-o", made, _SOURCE], check=True)
        place = ["-N", "--no-warn-rwx-segments", "-Ttext", "0x1000", "--section-start", ".note.Xen=0x4000"]
        subprocess.run(["ld", "-m", "elf_x86_64", *place, "-e", "_start", "-o", into, made], check=True)
