"""The driver of Xen: PVH and PV guests beside this machine, which is Xen's own first domain."""
