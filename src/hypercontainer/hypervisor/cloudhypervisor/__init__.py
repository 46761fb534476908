"""Drives Cloud Hypervisor."""
