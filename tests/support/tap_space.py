"""A network namespace of a test's own: the suite's."""

from hypercontainer.suite.tap_space import TapSpace

__all__ = ["TapSpace"]
