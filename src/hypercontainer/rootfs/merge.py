"""The union of layers: one tree from those of the layers, by the OCI rules.

Pure functions on trees, which they take over: the result is made of the inodes it was given.
"""

from __future__ import annotations

from collections.abc import Iterator

from .limits import Refusal
from .tree import Directory, FarLink, Inode, directory, find_directory


def empty() -> Inode:
    """The tree below the first layer."""
    return directory()


def apply_layer(lower: Inode, upper: Inode) -> None:
    """Put a layer's tree over ``lower``, which becomes their union.

    A directory over a directory merges with it and takes the upper's attributes, unless the upper's is implicit;
    anything else replaces what had the name.  The result has no marks.  Raises Refusal, its argument the link's
    target, for a hard link to what is not there.
    """
    _resolve_far_links(lower, upper)
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
            if child.is_whiteout:
                children.pop(name, None)
            elif not isinstance(child.body, Directory):
                children[name] = child
            else:
                existing = children.get(name)
                if existing is None or not isinstance(existing.body, Directory) or child.body.opaque:
                    existing = children[name] = directory()
                    existing.set_attributes(child)
                stack.append((existing, child))


def _resolve_far_links(lower: Inode, upper: Inode) -> None:
    """Replace the hard links to files of lower layers by those files, as they were below this layer."""
    for parent, name, target in list(_far_links(upper)):
        *way, last = target.split(b"/")
        container = find_directory(lower, way)
        found = container.children.get(last) if container is not None else None
        if found is None or isinstance(found.body, Directory):
            raise Refusal(f"hard link to {target!r}, which neither this layer nor one below it has as a file")
        parent.children[name] = found


def _far_links(root: Inode) -> Iterator[tuple[Directory, bytes, bytes]]:
    stack = [root.body]
    while stack:
        parent = stack.pop()
        assert isinstance(parent, Directory)
        for name, child in parent.children.items():
            if isinstance(child.body, FarLink):
                yield parent, name, child.body.target
            elif isinstance(child.body, Directory):
                stack.append(child.body)
