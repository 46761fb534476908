"""Random layers against a model that knows nothing of trees: paths and sets only."""

from __future__ import annotations

import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import layer_tar as lt

Path_ = tuple[bytes, ...]
NAMES = st.sampled_from([b"a", b"b", b"!", b"\xff", b"n" * 120])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
DATA = st.sampled_from([b"", b"x", b"y" * 4096, b"z" * 5000])


@dataclass(frozen=True)
class File:
    mode: int = 0o40755
    uid: int = 0
    content: bytes | None = None
    implied: bool = False


@dataclass(frozen=True)
class Op:
    """One entry: a file at ``path``, a directory where its content is None, or a whiteout or opaque mark."""

    path: Path_
    file: File
    mark: str = ""

    def tar(self) -> bytes:
        *parents, name = self.path
        if self.mark:
            name = {"whiteout": b".wh." + name, "opaque": name + b"/.wh..wh..opq"}[self.mark]
            return lt.entry(b"/".join([*parents, name]))
        path = b"/".join(self.path)
        mode = stat.S_IMODE(self.file.mode)
        if self.file.content is None:
            return lt.directory(path, mode, uid=self.file.uid)
        return lt.entry(path, data=self.file.content, mode=mode, uid=self.file.uid)


def directories(mode: int, uid: int) -> File:
    return File(stat.S_IFDIR | mode, uid)


def regular(mode: int, uid: int, data: bytes) -> File:
    return File(stat.S_IFREG | mode, uid, data)


MODES, IDS = st.integers(0, 0o7777), st.integers(0, 0xFFFFFFFF)
FILES = st.one_of(st.builds(directories, MODES, IDS), st.builds(regular, MODES, IDS, DATA))
OPS = st.builds(Op, PATHS, FILES, st.sampled_from(["", "", "", "whiteout", "opaque"]))
LAYERS = st.lists(st.lists(OPS, max_size=12), min_size=1, max_size=4)

Tree = dict[Path_, File]


def below(tree: Tree, path: Path_) -> list[Path_]:
    return [other for other in tree if other[: len(path)] == path and other != path]


def drop(tree: Tree, path: Path_) -> None:
    for other in [*below(tree, path), path]:
        tree.pop(other, None)


def possible(tree: Tree, op: Op) -> bool:
    """Whether all of an entry's parents are directories or missing."""
    parents = op.path if op.mark == "opaque" else op.path[:-1]
    ways = [tree.get(parents[:length]) for length in range(1, len(parents) + 1)]
    return all(file is None or file.content is None for file in ways)


def layer_model(ops: list[Op]) -> tuple[list[Op], Tree, set[Path_], set[Path_]]:
    """The entries that are possible, the layer's own files, whiteouts and opaque directories."""
    kept: list[Op] = []
    tree: Tree = {}
    whiteouts: set[Path_] = set()
    opaque: set[Path_] = set()
    for op in ops:
        if not possible(tree, op):
            continue
        kept.append(op)
        for length in range(1, len(op.path) + (op.mark == "opaque")):
            tree.setdefault(op.path[:length], File(implied=True))
        if op.mark == "whiteout":
            whiteouts.add(op.path)
        elif op.mark == "opaque":
            opaque.add(op.path)
        else:
            existing = tree.get(op.path)
            if existing is None or existing.content is not None or op.file.content is not None:
                drop(tree, op.path)
                # What is replaced takes its marks with it.
                opaque -= {path for path in opaque if path[: len(op.path)] == op.path}
                whiteouts -= {
                    path for path in whiteouts if path[: len(op.path)] == op.path and path != op.path
                }
            tree[op.path] = op.file
    return kept, tree, whiteouts, opaque


def union(lower: Tree, upper: Tree, whiteouts: set[Path_], opaque: set[Path_]) -> Tree:
    result = dict(lower)
    for path in whiteouts:
        drop(result, path)
    for path in opaque:
        for other in below(result, path):
            result.pop(other)
    for path in sorted(upper, key=len):
        file, existing = upper[path], result.get(path)
        if file.content is not None or existing is None or existing.content is not None:
            drop(result, path)
            result[path] = file
        elif not file.implied:
            result[path] = file
    return result


@settings(max_examples=60)
@given(LAYERS)
def test_images_are_the_union_of_their_layers(layers: list[list[Op]]) -> None:
    expected: Tree = {}
    tars = []
    for ops in layers:
        kept, tree, whiteouts, opaque = layer_model(ops)
        tars.append(lt.tar(*(op.tar() for op in kept)))
        expected = union(expected, tree, whiteouts, opaque)
    with tempfile.TemporaryDirectory() as folder:
        found = lt.contents(lt.root_disk(Path(folder), *tars))
    assert {path: (file.mode, file.uid, file.content) for path, file in found.items() if path} == {
        b"/" + b"/".join(path): (file.mode, file.uid, file.content) for path, file in expected.items()
    }
    for path, file in found.items():
        if stat.S_ISDIR(file.mode):
            children = [other for other in found if other.rpartition(b"/")[0] == path and other != path]
            assert file.links == 2 + sum(stat.S_ISDIR(found[other].mode) for other in children)


@settings(max_examples=30)
@given(st.dictionaries(st.binary(min_size=1, max_size=255), DATA, max_size=60))
def test_any_name_is_kept(files: dict[bytes, bytes]) -> None:
    named = {
        name: data
        for name, data in files.items()
        if not set(name) & set(b"\0/") and name not in (b".", b"..") and not name.startswith(b".wh.")
    }
    with tempfile.TemporaryDirectory() as folder:
        found = lt.files(
            lt.root_disk(Path(folder), lt.tar(*(lt.entry(name, data=data) for name, data in named.items())))
        )
    assert {path[1:]: content for path, content in found.items() if path} == named
