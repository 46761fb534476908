"""What .dockerignore keeps from being sent: cases of moby's patternmatcher, and of trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypercontainer.client.ignoring import Pattern, Rules, Sieve, clean, lines
from hypercontainer.errors import InvalidArgument

# pattern, path, whether it matches: from patternmatcher's own tests
MATCHES = [
    ("**", "file", True),
    ("**", "file/", True),
    ("**/", "file", True),
    ("**/**", "dir/dir2/file", True),
    ("dir/**", "dir/file", True),
    ("dir/**", "dir/dir2/file", True),
    ("**/dir", "dir", True),
    ("**/dir", "dir2/dir", True),
    ("**/dir2/*", "dir/dir2/file", True),
    ("**/file", "dir/file", True),
    ("**/file", "file", True),
    ("**file", "dir/file", True),
    ("**file*", "dir/filetxt", True),
    ("a**/*.txt", "a/file.txt", True),
    ("a**/*.txt", "a/dir/file.txt", True),
    ("a/*.txt", "a/dir/file.txt", False),
    ("a[b-d]e", "ae", False),
    ("a[b-d]e", "ace", True),
    ("a[^b-d]e", "aze", True),
    ("abc.def", "abcXdef", False),
    ("abc.def", "abc.def", True),
    ("abc?def", "abc/def", False),
    ("a\\*b", "a*b", True),
    ("a\\*b", "aXb", False),
    ("**/foo/bar", "foo/bar", True),
    ("**/foo/bar", "dir/foo/bar", True),
    (".*", "..foo", True),
    (".*", "foo", False),
    ("*", "a/b", False),
    ("a(b)c/def", "a(b)c/def", True),
    ("a.|)$(}+{bc", "a.|)$(}+{bc", True),
    ("dist/**/*.whl", "dist/proxy.py.whl", True),
    ("dist/**/*.whl", "dist/a/b/proxy.py.whl", True),
    ("dist/*.whl", "dist/a/proxy.py.whl", False),
]


@pytest.mark.parametrize(("pattern", "path", "wanted"), MATCHES)
def test_a_pattern(pattern: str, path: str, wanted: bool) -> None:
    assert Pattern(clean(pattern)).matches(clean(path)) is wanted


def test_lines() -> None:
    text = "\ufeff# no\n\n  a/../b/  \n/rooted\n! c//d \n #not a comment\n!\n"
    assert lines(text) == ["b", "rooted", "!c/d", "#not a comment", "!"]
    with pytest.raises(InvalidArgument, match="alone"):
        Rules(lines(text))
    with pytest.raises(InvalidArgument, match="no pattern"):
        Rules(["a[b"])


@pytest.mark.parametrize(
    ("patterns", "sent"),
    [
        ([], {"a", "a/x", "a/x/1", "a/y", "b.log", "keep.log"}),
        (["a"], {"b.log", "keep.log"}),
        (["*.log", "!keep.log"], {"a", "a/x", "a/x/1", "a/y", "keep.log"}),
        (["a", "!a/x"], {"a", "a/x", "a/x/1", "b.log", "keep.log"}),
        (["a", "!a/x/1"], {"a", "a/x", "a/x/1", "b.log", "keep.log"}),
        (["*", "!a/y"], {"a", "a/y"}),
        (["**", "!**/y"], {"a", "a/x", "a/y"}),  # x, since there could be one in it
        (["a/*", "!a/y", "a/y"], {"a", "b.log", "keep.log"}),
    ],
)
def test_trees(patterns: list[str], sent: set[str]) -> None:
    tree: dict[str, object] = {"a": {"x": {"1": None}, "y": None}, "b.log": None, "keep.log": None}

    def walk(inside: dict[str, object], sieve: Sieve, above: str) -> set[str]:
        found = set()
        for name, below in inside.items():
            finer = sieve.below(name, directory=isinstance(below, dict))
            if finer is not None:
                found |= {above + name}
                found |= walk(below, finer, f"{above}{name}/") if isinstance(below, dict) else set()
        return found

    assert walk(tree, Sieve(Rules(patterns)), "") == sent


def test_a_context(tmp_path: Path) -> None:
    import io
    import tarfile

    from hypercontainer.client.context import Context

    (tmp_path / "node_modules").mkdir()
    for name in ("Dockerfile", "node_modules/a", "b", "other.Dockerfile"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("*\n!b\n")
    (tmp_path / "other.Dockerfile.dockerignore").write_text("b\n")

    def names(context: Context) -> set[str]:
        with tarfile.open(fileobj=io.BytesIO(b"".join(context.pieces()))) as tar:
            return {each.removeprefix("./") for each in tar.getnames()}

    assert names(Context(str(tmp_path))) == {".", "b", ".dockerignore"}
    other = Context(str(tmp_path), str(tmp_path / "other.Dockerfile"))
    assert other.asked() == {
        "dockerfile": "other.Dockerfile",
        "dockerfile_name": "other.Dockerfile",
        "ignore": "b\n",
    }
    assert "b" not in names(other) and "node_modules/a" in names(other)
    with pytest.raises(InvalidArgument, match="no directory"):
        Context(str(tmp_path / "nowhere"))
    with pytest.raises(InvalidArgument, match="Dockerfile: No such file"):
        Context(str(tmp_path / "node_modules"))
