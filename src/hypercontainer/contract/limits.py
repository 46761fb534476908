"""What a pod has at most: the same for every surface, for the engine, and (by tools/make_wire.py) for the guest."""

# Kubernetes' users have about a hundred.  A container of one small process takes a quarter of a MiB of the VM's memory.
CONTAINERS_MAX = 128
