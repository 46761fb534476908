from __future__ import annotations

from hypercontainer.hypervisor.qemu.vmdk import descriptor


def test_extents_in_order_and_no_blank_line_before_them() -> None:
    text = descriptor([("/dev/fdset/1", 1024), ("/dev/fdset/2", 512)]).decode()
    assert text.endswith('RW 2 FLAT "/dev/fdset/1" 0\nRW 1 FLAT "/dev/fdset/2" 0\n')
    assert "\n\n" not in text
    assert text.startswith("# Disk DescriptorFile\n")
