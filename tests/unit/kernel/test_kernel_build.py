"""guest/kernel/build.py, with tar, make and the rest played by scripts; the real build is `make kernel`."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hypercontainer.errors import Unavailable
from hypercontainer.kernel import KernelStore

BUILD = Path(__file__).resolve().parents[3] / "guest/kernel/build.py"
PATCHED_FILE = re.compile(r"^\+\+\+ b/(\S+)$", re.MULTILINE)


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guest_kernel_build", BUILD)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


build = load()
PC, WIDE, UM = (build.FLAVOURS[name] for name in ("pc", "wide", "um"))

SCRIPTS = {
    "gcc": "echo 'gcc (Debian) 12'",
    "dpkg-query": "echo 6.1.7-1",
    "flex": "",
    "bison": "",
    "bc": "",
    "xz": "",
    "lz4": "",
    "patch": "",
    "strip": 'cp "$4" "$3"',
    "dpkg-deb": "",
    "tar": """[ "$1" != -x ] || { f="$3/$4"; mkdir -p "${f%/*}"; : > "$f"; exit; }
cd linux && mkdir -p include/config && echo 6.1.7-hyper > include/config/kernel.release && : > System.map""",
    "make": r"""
case "$*" in
*tinyconfig) : > linux/.config ;;
*olddefconfig) [ -z "$TEST_DROP" ] || grep -v "$TEST_DROP" linux/.config > x; [ ! -f x ] || mv x linux/.config ;;
*vmlinux|*bzImage|*" linux") echo "one build" >> "$(dirname "$0")/builds"
    [ ! -e "$(dirname "$0")/break" ] || { echo "tcp.c:1: error: broken"; exit 2; }
    sleep 0.2; made=${*##* }
    [ $made != bzImage ] || { mkdir -p linux/arch/x86/boot; echo packed > linux/arch/x86/boot/bzImage; made=vmlinux; }
    echo image > "linux/$made" ;;
esac""",
}


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    for name, body in SCRIPTS.items():
        (directory / name).write_text(f"#!/bin/sh\n{body}\n")
        (directory / name).chmod(0o755)
    (tmp_path / "work").mkdir()
    return directory


def start(tools: Path, flavour: str = "pc") -> subprocess.Popen[str]:
    """build.py with source archives, a header and suites that are there."""
    sources = tools.parent / "sources"
    sources.mkdir(exist_ok=True)
    (sources / "linux-source-6.1.tar.xz").touch()
    (sources / "suites.py").write_text(
        f"print({str(sources / 'a.deb')!r}, 'linux-source-7.9', '7.9.1-1', 'sid')"
    )
    program = (
        "import importlib.util as u, pathlib, sys;"
        f"s = u.spec_from_file_location('b', {str(BUILD)!r}); b = u.module_from_spec(s); sys.modules['b'] = b;"
        f"s.loader.exec_module(b); b.HEADER = pathlib.Path({str(BUILD)!r}); b.FREE_BYTES_NEEDED = 0;"
        f"b.SOURCES = pathlib.Path({str(sources)!r}); b.SUITES = b.SOURCES / 'suites.py';"
        f"sys.argv[1:] = [{flavour!r}]; sys.exit(b.main())"
    )
    environment = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "HYPER_CACHE": str(tools.parent / "cache"),
        "TMPDIR": str(tools.parent / "work"),
    }
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def kernel_directory(tools: Path) -> list[str]:
    return sorted(os.listdir(tools.parent / "cache/kernel"))


def test_a_build_is_a_kernel_for_the_store_and_is_done_once(tools: Path) -> None:
    status, out, err = finish(start(tools))
    assert (status, err) == (0, "")
    kernel = KernelStore(tools.parent / "cache").default()
    assert (kernel.source, kernel.version, kernel.pvh, kernel.modules) == ("own", "6.1.7-hyper", True, ())
    assert kernel.path.read_text() == "image\n"
    key = kernel.path.parent.name
    assert sorted(os.listdir(kernel.path.parent)) == [
        ".config",
        "System.map",
        "build.log",
        "kernel.json",
        "vmlinux",
    ]
    assert kernel_directory(tools) == sorted([".build.lock", "current", key])
    assert os.readlink(tools.parent / "cache/kernel/current") == key
    assert os.listdir(tools.parent / "work") == []
    assert "compiling" in out or "built in" in out

    assert finish(start(tools))[0] == 0
    assert (tools / "builds").read_text().count("one build") == 1


def test_the_kernel_that_is_a_program_stands_by_itself(tools: Path) -> None:
    status, out, err = finish(start(tools, "um"))
    assert (status, err) == (0, "")
    directory = tools.parent / "cache/uml/current"
    assert (directory / "linux").read_text() == "image\n"
    assert os.access(directory / "linux", os.X_OK)
    assert "building linux-source-7.9 7.9.1-1" in out
    store = KernelStore(tools.parent / "cache")
    assert store.list() == [store.program()]
    with pytest.raises(Unavailable, match="no guest kernel"):
        store.default()


def test_the_wide_kernel_stands_beside_the_lean_one(tools: Path) -> None:
    assert [finish(start(tools, name))[::2] for name in ("pc", "wide")] == [(0, ""), (0, "")]
    store = KernelStore(tools.parent / "cache")
    lean, wide = store.list()
    assert store.default() == lean
    assert lean.bzimage is None
    assert lean.devices == {"virtio"}
    assert store.having("xen") == wide
    assert wide.path.read_text() == "image\n"
    assert wide.bzimage
    assert wide.bzimage.read_text() == "packed\n"
    assert store.find(f"{lean.name}-wide") == wide
    assert wide.path.parent.name == os.readlink(tools.parent / "cache/kernel/current-wide")


def test_an_unknown_flavour_is_named(tools: Path) -> None:
    assert finish(start(tools, "arm"))[::2] == (1, "kernel: no flavour 'arm'; there are pc, wide, um\n")


def test_two_at_once_build_once(tools: Path) -> None:
    both = [start(tools), start(tools)]
    assert [finish(process)[0] for process in both] == [0, 0]
    assert (tools / "builds").read_text().count("one build") == 1


def test_a_failed_build_shows_why_and_leaves_nothing(tools: Path) -> None:
    (tools / "break").touch()
    status, _, err = finish(start(tools))
    assert status == 1
    assert "tcp.c:1: error: broken" in err
    assert kernel_directory(tools) == [".build.lock"]
    assert os.listdir(tools.parent / "work") == []


def test_an_option_that_does_not_take_is_named(tools: Path) -> None:
    make = tools / "make"
    make.write_text(make.read_text().replace("#!/bin/sh\n", "#!/bin/sh\nTEST_DROP=CONFIG_EROFS_FS_XATTR\n"))
    status, _, err = finish(start(tools))
    assert status == 1
    assert "CONFIG_EROFS_FS_XATTR: asked y, got n" in err
    assert kernel_directory(tools) == [".build.lock"]


def test_a_missing_package_is_named(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tools / "flex").unlink()
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(build.BuildError, match=r"missing: flex.*apt-get install .*flex"):
        build.check_tools()


def test_the_key_covers_all_that_goes_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def key(version: str = "1", compiler: str = "gcc") -> str:
        return str(build.build_key(PC, build.Source("linux", version, None), compiler))

    names = ("config/1-a.config", "config/2-pc.config", "patches/pc/a.patch")
    others = ("config/2-um.config", "config/3-xen.config", "patches/um/a.patch")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(build, "HERE", tmp_path)
    keys = [key(), key("2"), key(compiler="gcc 2")]
    for name in names:
        (tmp_path / name).write_text("two")
        keys.append(key())
    (tmp_path / "config/b.config").write_text("")
    keys.append(key())
    assert len(set(keys)) == len(keys)
    # What is the other flavour's alone changes nothing.
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert key() == keys[-1]


def test_config_is_read_in_both_ways_of_writing_no() -> None:
    text = 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=n\nCONFIG_D="x y"\n# a comment\n'
    assert build.parse_config(text) == {
        "CONFIG_A": "y",
        "CONFIG_B": "n",
        "CONFIG_C": "n",
        "CONFIG_D": '"x y"',
    }
    assert build.unmet(
        {"CONFIG_A": "n", "CONFIG_GONE": "n", "CONFIG_D": '"x y"'}, build.parse_config(text)
    ) == ["CONFIG_A: asked n, got y"]


@pytest.mark.parametrize("flavour", [PC, WIDE, UM], ids=["pc", "wide", "um"])
def test_fragments_are_well_formed_and_ask_for_an_option_again_only_to_change_it(flavour: Any) -> None:
    seen: dict[str, str] = {}
    for path in build.fragments(flavour):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line or line.startswith("# "):
                continue
            assert re.fullmatch(r"CONFIG_\w+=(y|n|-?\d+|0x[0-9a-f]+|\".*\")", line), (
                f"{path.name}:{number}: {line}"
            )
            name, _, value = line.partition("=")
            assert name not in seen or flavour is WIDE, f"{name} again in {path.name}"
            assert seen.get(name) != value, f"{name} again in {path.name}"
            seen[name] = value


@pytest.mark.parametrize("flavour", [PC, WIDE, UM], ids=["pc", "wide", "um"])
def test_every_patch_says_why(flavour: Any) -> None:
    assert build.patches(flavour)
    for path in build.patches(flavour):
        text = path.read_text()
        assert PATCHED_FILE.findall(text), path.name
        assert len(text.split("\n--- ")[0].splitlines()) > 3, path.name
