"""Network interfaces for tests: the suite's."""

from hypercontainer.suite.nics import MAC, nat, nat_nic

__all__ = ["MAC", "nat", "nat_nic"]
