"""Drives User Mode Linux: a VM whose kernel is a process of the host."""
