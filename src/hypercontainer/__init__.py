"""Hyper runs Docker and OCI images directly on a hypervisor.

The data flow, and so the direction of imports, is ``image -> rootfs -> hypervisor -> agent -> engine ->
surfaces`` (``api``, ``cli``); see ``docs/architecture.md``.
"""

__version__ = "0.1.0"
