"""Drives Firecracker."""
