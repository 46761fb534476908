"""The VirtualBox driver: VBoxManage defines a VM, a process of this driver runs it."""
