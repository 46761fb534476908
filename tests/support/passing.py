"""Looking at what others make and remove meanwhile: the suite's."""

from hypercontainer.suite.leftovers import (
    CGROUPS,
    children,
    content,
    groups,
    listed,
    of_user,
    processes,
    small_files,
    state,
)

__all__ = [
    "CGROUPS",
    "children",
    "content",
    "groups",
    "listed",
    "of_user",
    "processes",
    "small_files",
    "state",
]
