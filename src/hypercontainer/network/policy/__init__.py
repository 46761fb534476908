"""Policies for the way out: what they mean, what they decide, what the kernel is told of them; see docs/networks.md.

All of it is pure but `applying`, which speaks to the kernel.
"""
