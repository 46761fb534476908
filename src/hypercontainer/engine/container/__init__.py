"""A container: its record, its runs, the processes in it."""
