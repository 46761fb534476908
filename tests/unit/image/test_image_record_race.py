"""Two processes that open a new image record at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

OPENS = """
import sys
from pathlib import Path
from hypercontainer.image.metadata import Metadata
sys.stdin.read(1)
for number in range(60):
    Metadata(Path(sys.argv[1], f"{number}.db")).close()
"""


def test_both_open_every_time(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENS, tmp_path], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
