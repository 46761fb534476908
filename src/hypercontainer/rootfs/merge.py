"""The union of layers: one tree from those of the layers, by the OCI rules.

Pure functions on trees, which they take over: the result is made of the inodes it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

from .limits import Refusal, Tally
from .tree import Directory, FarLink, Inode, find_directory, implied_directory


def empty() -> Inode:
    """The tree below the first layer."""
    return implied_directory()


def apply_layer(lower: Inode, upper: Inode, tally: Tally) -> None:
    """Put a layer's tree over ``lower``, which becomes their union; ``tally`` counts what is looked at on the way.

    A directory over a directory merges with it and takes the upper's attributes, unless the upper's is implicit;
    anything else replaces what had the name.  The result has no marks.  Raises Refusal for a hard link to
    what is not there.
    """
    _resolve_far_links(lower, upper, tally)
    stack = [(lower, upper)]
    while stack:
        below, above = stack.pop()
        below_body, above_body = below.body, above.body
        assert isinstance(below_body, Directory) and isinstance(above_body, Directory)
        if not above_body.implicit:
            below.set_attributes(above)
        children = below_body.children
        if above_body.opaque:
            children.clear()
        for name, child in above_body.children.items():
            tally.add()
            if child.is_whiteout:
                children.pop(name, None)
            elif not isinstance(child.body, Directory):
                children[name] = child
            else:
                existing = children.get(name)
                if existing is None or not isinstance(existing.body, Directory):
                    existing = children[name] = copy(child)
                    existing.body = Directory()
                stack.append((existing, child))


def _resolve_far_links(lower: Inode, upper: Inode, tally: Tally) -> None:
    """Replace the hard links to files of lower layers by those files, as they were below this layer."""
    for parent, path, target in list(_far_links(upper)):
        *way, last = target.split(b"/")
        try:
            container = find_directory(lower, way, tally)
        except Refusal as refusal:
            raise Refusal(f"hard link to {target!r}: {refusal}", entry=path) from None
        found = container.children.get(last) if container is not None else None
        if found is None or isinstance(found.body, Directory):
            raise Refusal(
                f"hard link to {target!r}, which is no file of this layer or of one below", entry=path
            )
        parent.children[path.rpartition(b"/")[2]] = found


def _far_links(root: Inode) -> Iterator[tuple[Directory, bytes, bytes]]:
    """Directory, path and target of each."""
    stack = [(b"", root.body)]
    while stack:
        path, parent = stack.pop()
        assert isinstance(parent, Directory)
        for name, child in parent.children.items():
            if isinstance(child.body, FarLink):
                yield parent, path + name, child.body.target
            elif isinstance(child.body, Directory):
                stack.append((path + name + b"/", child.body))
