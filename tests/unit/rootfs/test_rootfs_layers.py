"""What a layer's entries mean: paths, duplicates, links, whiteouts; and what layers on top of each other are."""

from __future__ import annotations

from pathlib import Path

import pytest

import layer_tar as lt
from hypercontainer.errors import LayerError


def image(tmp_path: Path, *layers: list[bytes]) -> dict[bytes, lt.Found]:
    return lt.contents(lt.root_disk(tmp_path, *(lt.tar(*entries) for entries in layers)))


def names(found: dict[bytes, lt.Found]) -> list[bytes]:
    return sorted(found)


F = lt.entry(b"f", data=b"1")


# One layer


@pytest.mark.parametrize(
    "path",
    [b"a/f", b"/a/f", b"./a/f", b"//a//f", b"a/./f", b"x/../a/f", b"/./a/b/../f", b"a/f/.", b"a/f//"[:-2]],
)
def test_names_are_relative_to_the_root_and_cleaned(tmp_path: Path, path: bytes) -> None:
    assert names(image(tmp_path, [lt.entry(path, data=b"1")])) == [b"", b"/a", b"/a/f"]


def test_missing_parents_are_made(tmp_path: Path) -> None:
    found = image(tmp_path, [lt.entry(b"a/b/f", uid=5, mtime=77)])
    assert (found[b"/a/b"].mode, found[b"/a/b"].uid, found[b"/a/b"].mtime_ns) == (0o40755, 0, 77 * 10**9)
    assert found[b"/a"].links == 3


@pytest.mark.parametrize("path", [b".", b"./", b"/"])
def test_the_root_has_an_entry(tmp_path: Path, path: bytes) -> None:
    found = image(tmp_path, [lt.directory(path, 0o1700, uid=3), F])
    assert (found[b""].mode, found[b""].uid) == (0o41700, 3)


def test_the_last_of_several_entries_wins(tmp_path: Path) -> None:
    found = image(
        tmp_path,
        [
            *(F, lt.entry(b"f", data=b"22", mode=0o600)),
            *(lt.directory(b"d"), lt.entry(b"d/child"), lt.entry(b"d", data=b"file")),
            *(lt.entry(b"g"), lt.directory(b"g"), lt.entry(b"g/child")),
            *(lt.entry(b"s"), lt.entry(b"s", lt.SYMLINK, target=b"f")),
        ],
    )
    assert (found[b"/f"].content, found[b"/f"].permissions) == (b"22", 0o600)
    assert found[b"/d"].content == b"file"
    assert found[b"/s"].content == b"f"
    assert names(found) == [b"", b"/d", b"/f", b"/g", b"/g/child", b"/s"]


def test_a_second_entry_of_a_directory_keeps_the_children(tmp_path: Path) -> None:
    found = image(
        tmp_path, [lt.entry(b"d/f"), lt.directory(b"d", 0o700), lt.entry(b"d/g"), lt.directory(b"d/", 0o711)]
    )
    assert found[b"/d"].mode == 0o40711
    assert names(found) == [b"", b"/d", b"/d/f", b"/d/g"]


def test_the_directory_of_the_last_entry_may_have_been_replaced(tmp_path: Path) -> None:
    found = image(tmp_path, [lt.entry(b"d/f"), lt.entry(b"d"), lt.directory(b"d"), lt.entry(b"d/g")])
    assert names(found) == [b"", b"/d", b"/d/g"]


def test_parents_that_are_links_are_followed_inside_the_layer(tmp_path: Path) -> None:
    found = image(
        tmp_path,
        [
            *(lt.entry(b"lib", lt.SYMLINK, target=b"usr/lib"), lt.entry(b"lib/f")),
            *(lt.entry(b"out", lt.SYMLINK, target=b"../../../../etc"), lt.entry(b"out/passwd")),
            *(lt.entry(b"abs", lt.SYMLINK, target=b"/etc/./"), lt.entry(b"abs/shadow")),
        ],
    )
    assert {b"/usr/lib/f", b"/etc/passwd", b"/etc/shadow"} <= set(found)
    assert [found[path].content for path in (b"/lib", b"/out", b"/abs")] == [
        b"usr/lib",
        b"../../../../etc",
        b"/etc/./",
    ]


def test_targets_of_links_are_kept_as_they_are(tmp_path: Path) -> None:
    targets = [b"/../../etc/shadow", b"a//b/.", b"\xff\xfe", b"t" * 4095, b" "]
    found = image(
        tmp_path, [lt.entry(b"%d" % index, lt.SYMLINK, target=target) for index, target in enumerate(targets)]
    )
    assert [found[b"/%d" % index].content for index in range(len(targets))] == targets


def test_hard_links_are_one_file(tmp_path: Path) -> None:
    found = image(
        tmp_path,
        [
            *(lt.entry(b"a", data=b"x" * 5000, mode=0o4755), lt.entry(b"d/b", lt.LINK, target=b"./a")),
            *(lt.entry(b"c", lt.LINK, target=b"/d/b"), lt.entry(b"s", lt.SYMLINK, target=b"a")),
            *(lt.entry(b"t", lt.LINK, target=b"s"), lt.entry(b"alone", data=b"y")),
        ],
    )
    assert len({found[path].nid for path in (b"/a", b"/d/b", b"/c")}) == 1
    assert (found[b"/c"].links, found[b"/c"].permissions, found[b"/c"].content) == (3, 0o4755, b"x" * 5000)
    assert (found[b"/t"].content, found[b"/t"].links) == (b"a", 2)
    assert found[b"/alone"].links == 1


def test_a_hard_link_stays_when_its_first_name_is_replaced(tmp_path: Path) -> None:
    found = image(tmp_path, [F, lt.entry(b"g", lt.LINK, target=b"f"), lt.entry(b"f", data=b"new")])
    assert (found[b"/g"].content, found[b"/g"].links) == (b"1", 1)
    assert (found[b"/f"].content, found[b"/f"].links) == (b"new", 1)


def test_a_hard_link_to_itself_changes_nothing(tmp_path: Path) -> None:
    assert image(tmp_path, [F, lt.entry(b"f", lt.LINK, target=b"f")])[b"/f"].links == 1


def test_many_names_need_many_directory_blocks(tmp_path: Path) -> None:
    children = [b"d/%s-%d" % (b"n" * (index % 200), index) for index in range(3000)]
    children += [b"d/!first", b"d/~last", b"d/.hidden", b"d/-dash"]
    found = image(tmp_path, [lt.entry(name, data=name) for name in children])
    assert len(found) == len(children) + 2
    assert all(found[b"/" + name].content == name for name in children)


def test_no_layers_are_an_empty_root(tmp_path: Path) -> None:
    assert names(image(tmp_path)) == [b""]


# Layers over layers


def test_upper_layers_add_replace_and_merge(tmp_path: Path) -> None:
    found = image(
        tmp_path,
        [
            lt.directory(b"d", 0o700),
            lt.entry(b"d/low", data=b"low"),
            F,
            lt.directory(b"x"),
            lt.entry(b"x/y"),
            F,
        ],
        [lt.directory(b"d", 0o755, uid=9), lt.entry(b"d/high", data=b"high"), lt.entry(b"x", data=b"file")],
        [lt.entry(b"f/child", data=b"3")],
    )
    assert (found[b"/d"].mode, found[b"/d"].uid) == (0o40755, 9)
    assert {path: found[path].content for path in found if found[path].content is not None} == {
        b"/d/low": b"low",
        b"/d/high": b"high",
        b"/x": b"file",
        b"/f/child": b"3",
    }


def test_implied_directories_keep_the_lower_attributes(tmp_path: Path) -> None:
    found = image(
        tmp_path,
        [lt.directory(b".", 0o711), lt.directory(b"tmp", 0o1777, gid=4)],
        [lt.entry(b"tmp/f")],
        [lt.entry(b"tmp/g"), lt.entry(b"new/f")],
    )
    assert (found[b"/tmp"].mode, found[b"/tmp"].gid, found[b""].mode) == (0o41777, 4, 0o40711)
    assert {b"/tmp/f", b"/tmp/g"} <= set(found)
    assert all(found[path].xattrs == () for path in found)


def test_whiteouts_hide_lower_layers_only(tmp_path: Path) -> None:
    found = image(
        tmp_path,
        [lt.entry(b"a"), lt.entry(b"d/x"), lt.entry(b"d/y"), lt.entry(b"e/x"), lt.entry(b"keep")],
        [
            *(lt.entry(b".wh.a"), lt.entry(b"d/.wh.x"), lt.entry(b".wh.never-there")),
            *(lt.entry(b"e/new"), lt.entry(b".wh.e")),  # the whiteout after what stays
        ],
    )
    assert names(found) == [b"", b"/d", b"/d/y", b"/e", b"/e/new", b"/keep"]


@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_and_a_file_of_one_layer(tmp_path: Path, first: bool) -> None:
    entries = [lt.entry(b".wh.d"), lt.directory(b"d", 0o700)]
    found = image(tmp_path, [lt.entry(b"d/low")], entries if first else entries[::-1])
    assert names(found) == [b"", b"/d"]
    assert found[b"/d"].mode == 0o40700


@pytest.mark.parametrize("position", [0, 1, 2])
def test_opaque_directories_hide_lower_content_wherever_the_mark_is(tmp_path: Path, position: int) -> None:
    entries = [lt.directory(b"d", 0o750), lt.entry(b"d/new")]
    entries.insert(position, lt.entry(b"d/.wh..wh..opq") * 3)
    found = image(tmp_path, [lt.directory(b"d"), lt.entry(b"d/low"), lt.entry(b"d/s/low")], entries)
    assert names(found) == [b"", b"/d", b"/d/new"]
    assert found[b"/d"].mode == 0o40750


def test_opaque_says_nothing_of_attributes_and_a_whiteout_does(tmp_path: Path) -> None:
    lower = [lt.directory(b"a", 0o1777), lt.directory(b"b", 0o1777), lt.entry(b"a/low"), lt.entry(b"b/low")]
    found = image(tmp_path, lower, [lt.entry(b"a/.wh..wh..opq"), lt.entry(b".wh.b"), lt.entry(b"b/f")])
    assert names(found) == [b"", b"/a", b"/b", b"/b/f"]
    assert (found[b"/a"].permissions, found[b"/b"].permissions) == (0o1777, 0o755)


def test_an_opaque_root(tmp_path: Path) -> None:
    assert names(image(tmp_path, [F, lt.entry(b"d/f")], [lt.entry(b".wh..wh..opq"), lt.entry(b"g")])) == [
        b"",
        b"/g",
    ]


def test_whiteouts_of_the_lowest_layer_do_not_show(tmp_path: Path) -> None:
    found = image(
        tmp_path, [lt.directory(b"."), lt.directory(b"d"), lt.entry(b"d/.wh..wh..opq"), lt.entry(b"d/.wh.x")]
    )
    assert names(found) == [b"", b"/d"]
    assert found[b"/d"].xattrs == ()


def test_overlayfs_own_whiteout_is_one(tmp_path: Path) -> None:
    assert names(image(tmp_path, [F], [lt.entry(b"f", lt.CHAR)])) == [b""]


def test_aufs_metadata_is_left_out_and_can_be_linked_to(tmp_path: Path) -> None:
    found = image(
        tmp_path,
        [
            *(lt.entry(b".wh..wh.aufs"), lt.directory(b".wh..wh.orph"), lt.directory(b".wh..wh.plnk")),
            *(
                lt.entry(b".wh..wh.plnk/12.34", data=b"linked"),
                lt.entry(b"usr/.wh..wh.aufs"),
                lt.entry(b"usr/f"),
            ),
            lt.entry(b"usr/g", lt.LINK, target=b".wh..wh.plnk/12.34"),
        ],
    )
    assert names(found) == [b"", b"/usr", b"/usr/f", b"/usr/g"]
    assert found[b"/usr/g"].content == b"linked"


def test_hard_links_into_lower_layers(tmp_path: Path) -> None:
    found = image(
        tmp_path,
        [
            lt.entry(b"a", data=b"low", mode=0o755),
            lt.entry(b"l", lt.SYMLINK, target=b"usr"),
            lt.entry(b"usr/b", data=b"b"),
        ],
        [
            *(lt.entry(b"c", lt.LINK, target=b"a"), lt.entry(b".wh.a")),  # a rename
            *(lt.entry(b"d", lt.LINK, target=b"/l/b"), lt.entry(b"e", lt.LINK, target=b"d")),
        ],
    )
    assert b"/a" not in found
    assert (found[b"/c"].content, found[b"/c"].mode, found[b"/c"].links) == (b"low", 0o100755, 1)
    assert len({found[path].nid for path in (b"/d", b"/e", b"/usr/b")}) == 1
    assert found[b"/e"].links == 3


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("target", [b"nowhere", b"no/where", b"d"])
def test_a_hard_link_to_nothing_is_refused(tmp_path: Path, layers: int, target: bytes) -> None:
    below = [[lt.directory(b"d"), F]] * (layers - 1)
    with pytest.raises(LayerError, match="hard link") as caught:
        image(tmp_path, *below, [lt.entry(b"new", lt.LINK, target=target)])
    assert caught.value.layer == lt.digest(lt.tar(lt.entry(b"new", lt.LINK, target=target)))
    assert caught.value.entry == "new"


def test_sixty_layers_are_one_disk(tmp_path: Path) -> None:
    layers = [
        [lt.entry(b"d/f%d" % index, data=b"%d" % index * 3000), lt.entry(b"last", data=b"%d" % index)]
        for index in range(60)
    ]
    found = image(tmp_path, *layers)
    assert [found[b"/d/f%d" % index].content for index in range(60)] == [
        b"%d" % index * 3000 for index in range(60)
    ]
    assert found[b"/last"].content == b"59"


def test_the_same_layer_twice(tmp_path: Path) -> None:
    disk = lt.root_disk(tmp_path, lt.tar(F), lt.tar(lt.entry(b".wh.f")), lt.tar(F))
    assert lt.files(disk) == {b"": None, b"/f": b"1"}
    assert len(disk.extents) == 3, "the merged tree, and each layer once"
