"""Families of devices: a driver of a hypervisor says which its guests have, a kernel for which it has drivers."""

from __future__ import annotations

VIRTIO = "virtio"  # of QEMU's machines and their kin
UML = "uml"  # of User Mode Linux, which is no machine
XEN = "xen"
PC = "pc"  # what has been sold: AHCI, e1000, 16550
VMWARE = "vmware"  # pvscsi, vmxnet3
VSOCK = "vsock"  # virtio, and the agent's line by it
