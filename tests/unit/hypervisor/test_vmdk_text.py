from __future__ import annotations

import subprocess
from pathlib import Path

from hypercontainer.hypervisor.qemu.vmdk import descriptor


def test_extents_in_order_and_no_blank_line_before_them() -> None:
    text = descriptor([("/dev/fdset/1", 1024), ("/dev/fdset/2", 512)]).decode()
    assert text.endswith('RW 2 FLAT "/dev/fdset/1" 0\nRW 1 FLAT "/dev/fdset/2" 0\n')
    assert "\n\n" not in text
    assert text.startswith("# Disk DescriptorFile\n")


def test_qemu_reads_the_extents_one_behind_the_other(tmp_path: Path) -> None:
    extents = []
    for number, blocks in enumerate((1, 3, 2)):
        path = tmp_path / f"extent{number}"
        path.write_bytes(bytes([number + 1]) * 4096 * blocks)
        extents.append((str(path), 4096 * blocks))
    text = tmp_path / "disk.vmdk"
    text.write_bytes(descriptor(extents))
    checks = "".join(
        f'qemu-io disk "read -P {value} {start} {length}"\n'
        for value, start, length in ((1, 0, 4096), (2, 4096, 3 * 4096), (3, 4 * 4096, 2 * 4096))
    )
    argv = [
        *("qemu-system-x86_64", "-machine", "none", "-display", "none", "-nodefaults", "-monitor", "stdio"),
        *("-drive", f"if=none,id=disk,format=vmdk,readonly=on,file={text}"),
    ]
    done = subprocess.run(
        argv, input=checks + "info block\nquit\n", capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("read ") >= 3
    assert done.stdout.count("bytes at offset") == 3, done.stdout + done.stderr
    assert "failed" not in done.stdout.lower(), done.stdout
