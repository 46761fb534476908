"""Ports for tests: the suite's."""

from hypercontainer.suite.ports import TRIES, free_port

__all__ = ["TRIES", "free_port"]
