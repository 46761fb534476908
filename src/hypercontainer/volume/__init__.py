"""Storage that outlives a container: hyperd's named volumes, users' disk files, directories of the host."""
