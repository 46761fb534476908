"""Drives VMs by a libvirt: QEMU's, of this machine."""
