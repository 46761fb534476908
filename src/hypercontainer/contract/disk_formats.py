"""What disk files begin with, but raw ones: by it the command line says which format a file has, hyperd that it has it.

Sources: docs/interop/qcow2.txt, block/vdi.c and block/vmdk.c of QEMU.
"""

from __future__ import annotations

QCOW2 = b"QFI\xfb"
VMDK, VMDK_TEXT = b"KDMV", b"# Disk DescriptorFile"
VDI, VDI_AT = b"\x7f\x10\xda\xbe", 64
