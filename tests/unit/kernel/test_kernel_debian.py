"""The fetch with apt and dpkg played by scripts, so that it needs neither network nor Debian."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import pytest

from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.kernel import KernelStore, debian, modules
from hypercontainer.kernel.targets import TARGETS

NAME = "linux-image-6.1.0-9-cloud-amd64"

APT_CACHE = f"""#!/bin/sh
[ "$3" = linux-image-cloud-amd64 ] || exit 100
echo "Package: $3"; echo "Version: 6.1.5-1"; echo "Depends: {NAME} (= 6.1.5-1)"
"""
APT_GET = """#!/bin/sh
for last; do :; done
echo archive > "${last}_6.1.5-1_amd64.deb"
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the scripts, which is all of PATH besides the system's."""
    directory = tmp_path / "bin"
    directory.mkdir()
    packed = tmp_path / "packed"
    library = packed / "lib/modules/6.1.0-9-cloud-amd64"
    library.mkdir(parents=True)
    names = ("virtio_pci", *modules.REQUIRED, *modules.OPTIONAL)
    builtin = "".join(f"kernel/{name}.ko\n" for name in names)
    (library / "modules.builtin").write_text(builtin)
    (packed / "boot").mkdir()
    image = bytearray(2048)
    image[0x1FE:0x206] = b"\x55\xaa\0\0HdrS"
    image[0x206:0x208] = b"\x0f\x02"
    (packed / "boot/vmlinuz-6.1.0-9-cloud-amd64").write_bytes(image)
    script(directory / "apt-cache", APT_CACHE)
    script(directory / "apt-get", APT_GET)
    script(directory / "dpkg-deb", f'#!/bin/sh\n[ -f "$2" ] && mkdir "$3" && cp -r {packed}/. "$3"\n')
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return directory


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_the_package_becomes_a_kernel_once(tools: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    store = KernelStore(tmp_path / "cache")
    kernel = store.fetch_debian(lines.append)
    assert (kernel.source, kernel.version, kernel.modules) == ("debian", "6.1.0-9-cloud-amd64", ())
    assert kernel.path == tmp_path / "cache/kernel/debian-6.1.5-1/vmlinuz"
    assert store.default() == kernel
    assert any(NAME in line for line in lines)
    assert os.listdir(tmp_path / "cache/kernel") == ["debian-6.1.5-1"]

    (tools / "apt-get").unlink()
    assert store.fetch_debian(lines.append) == kernel


@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_a_failure_carries_what_the_tool_said_and_leaves_nothing(
    tools: Path, tmp_path: Path, tool: str
) -> None:
    script(tools / tool, "#!/bin/sh\necho 'E: no route to mirror' >&2; exit 100\n")
    with pytest.raises(Unavailable, match=rf"{tool}.*exit status 100.*no route to mirror"):
        KernelStore(tmp_path / "cache").fetch_debian(print)
    assert os.listdir(tmp_path / "cache/kernel") == []


def test_a_kernel_that_can_be_entered_plain_is_kept_unpacked(tools: Path, tmp_path: Path) -> None:
    note = struct.pack("<III", 4, 4, 18) + b"Xen\0" + bytes(4)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )
    elf = head + struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(note), len(note), 4) + note + bytes(900)
    path = tmp_path / "packed/boot/vmlinuz-6.1.0-9-cloud-amd64"
    packed = gzip.compress(elf)  # which ends in the size, as a payload has to
    image = bytearray(path.read_bytes())
    struct.pack_into("<II", image, 0x248, 0, len(packed))
    image[0x1F1] = 3
    path.write_bytes(bytes(image) + packed)
    kernel = KernelStore(tmp_path / "cache").fetch_debian(print)
    assert (kernel.path.name, kernel.pvh, kernel.path.read_bytes()) == ("vmlinux", True, elf)
    assert "vmlinuz" not in os.listdir(kernel.path.parent)


def test_a_package_without_a_kernel_is_refused(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "packed/boot/vmlinuz-6.1.0-9-cloud-amd64").unlink()
    with pytest.raises(Unavailable, match=f"{NAME} cannot be used: 0 kernels"):
        KernelStore(tmp_path / "cache").fetch_debian(print)
    assert os.listdir(tmp_path / "cache/kernel") == []


def test_the_generic_kernel_is_the_second_choice(tools: Path) -> None:
    script(
        tools / "apt-cache", APT_CACHE.replace("image-cloud-amd64 ]", "image-amd64 ]").replace("-cloud", "")
    )
    found = next(debian.candidates(TARGETS["amd64"], Path()))
    assert (found.name, found.version) == ("linux-image-6.1.0-9-amd64", "6.1.5-1")


def test_apt_without_lists_says_what_to_do(tools: Path, tmp_path: Path) -> None:
    script(tools / "apt-cache", "#!/bin/sh\nexit 100\n")
    with pytest.raises(Unavailable, match="apt-get update"):
        KernelStore(tmp_path / "cache").fetch_debian(print)


def test_a_machine_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="apt-cache is missing"):
        KernelStore(tmp_path / "cache").fetch_debian(print)


FOREIGN = "linux-image-6.12.1-riscv64"
# Which knows of the package in one suite alone, and the words of the configuration that it was given.
FOREIGN_CACHE = f"""#!/bin/sh
case "$*" in *"Dir::Etc::SourceList="*/trixie/sources.list*APT::Architecture=riscv64*) ;; *) exit 100 ;; esac
for last; do :; done
[ "$last" = linux-image-riscv64 ] || exit 100
echo "Package: $last"; echo "Version: 6.12.1-1"; echo "Depends: {FOREIGN} (= 6.12.1-1)"
"""
FOREIGN_GET = """#!/bin/sh
for last; do :; done
case "$1 $last" in
    indextargets*) echo http://mirror.example/debian bookworm ;;
    *update) ;;
    *) echo archive > "${last}_6.12.1-1_riscv64.deb" ;;
esac
"""


def plain_image(magic: bytes) -> bytes:
    return bytes(0x38) + magic + b"Linux version 6.12.1-riscv64 (gcc) ".ljust(2048, b"\0")


@pytest.fixture
def foreign(tools: Path, tmp_path: Path) -> Path:
    """As ``tools``, for a package of riscv64; the kernel's file."""
    script(tools / "apt-cache", FOREIGN_CACHE)
    script(tools / "apt-get", FOREIGN_GET)
    packed = tmp_path / "packed"
    (packed / "boot/vmlinuz-6.1.0-9-cloud-amd64").unlink()
    (packed / "lib/modules/6.1.0-9-cloud-amd64").rename(packed / "lib/modules/6.12.1-riscv64")
    path = packed / "boot/vmlinux-6.12.1-riscv64"
    path.write_bytes(plain_image(b"RSC\x05"))
    return path


OLDER = "linux-image-6.12.0-powerpc64le"
# Whose own suite has a kernel that cannot be used, and the next one a newest that the mirror has not got yet.
BEHIND_CACHE = """#!/bin/sh
case "$*" in *bookworm/sources.list*) echo no >&2; exit 1 ;; *APT::Architecture=ppc64el*) ;; *) exit 100 ;; esac
for last; do :; done
case "$last" in
    linux-image-powerpc64le) echo "Version: 6.12.10-1"; echo "Depends: linux-image-6.12.10-powerpc64le" ;;
    ^*) for each in 6.12.0 6.11.9 6.12.10; do echo "linux-image-$each-powerpc64le - Linux"; done ;;
    *) version=${last#linux-image-}; echo "Version: ${version%-*}-1" ;;
esac
"""
BEHIND_GET = """#!/bin/sh
for last; do :; done
case "$1 $*" in
    indextargets*) echo http://mirror.example/debian bookworm ;;
    *bookworm/*) exit 1 ;;
    *update) ;;
    *6.12.10-powerpc64le) echo 404 >&2; exit 100 ;;
    *) echo archive > "${last}_ppc64el.deb" ;;
esac
"""


def test_what_the_mirror_has_not_is_taken_in_an_older_version(foreign: Path, tmp_path: Path) -> None:
    """Of a suite whose kernel can be used."""
    script(tmp_path / "bin/apt-cache", BEHIND_CACHE)
    script(tmp_path / "bin/apt-get", BEHIND_GET)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 21, 1, *(0,) * 10)
    foreign.write_bytes(header + b"Linux version 6.12.0-powerpc64le (gcc) ".ljust(2048, b"\0"))
    foreign.rename(foreign.with_name("vmlinux-6.12.0-powerpc64le"))
    library = tmp_path / "packed/lib/modules"
    (library / "6.12.1-riscv64").rename(library / "6.12.0-powerpc64le")
    said: list[str] = []
    kernel = KernelStore(tmp_path / "cache").fetch_debian(said.append, "ppc64le")
    assert (kernel.architecture, kernel.version) == ("ppc64le", "6.12.0-powerpc64le")
    assert kernel.path.parent == tmp_path / "cache/kernel-ppc64le/debian-6.12.0-1"
    assert [line for line in said if line.startswith("downloading")] == [
        "downloading linux-image-6.12.10-powerpc64le",
        f"downloading {OLDER}",
    ]


def test_an_image_for_s390x_says_which_it_is(tmp_path: Path) -> None:
    data = bytearray(0x11000)
    data[0x10008:0x1000E] = b"S390EP"
    struct.pack_into(">Q", data, 0x10428, 0x10800)
    data[0x10800:0x10820] = b"6.1.0-50-s390x (debian) #1 SMP  "
    path = tmp_path / "vmlinuz"
    path.write_bytes(data)
    kernel = KernelStore(tmp_path / "cache").user(path)
    assert (kernel.architecture, kernel.version) == ("s390x", "6.1.0-50-s390x")
    struct.pack_into(">Q", data, 0x10428, 1 << 63)
    path.write_bytes(data)
    assert KernelStore(tmp_path / "cache").user(path).version == ""
    path.write_bytes(data[:0x10010])
    assert KernelStore(tmp_path / "cache").user(path).version == ""


@pytest.mark.usefixtures("foreign")
def test_another_architectures_kernel_comes_from_the_suite_that_has_it(tmp_path: Path) -> None:
    store = KernelStore(tmp_path / "cache")
    kernel = store.fetch_debian(print, "riscv64")
    assert (kernel.architecture, kernel.version, kernel.pvh) == ("riscv64", "6.12.1-riscv64", False)
    assert kernel.path == tmp_path / "cache/kernel-riscv64/debian-6.12.1-1/vmlinuz"
    assert store.default("riscv64") == kernel
    assert store.list() == [kernel]
    assert os.listdir(tmp_path / "cache") == ["kernel-riscv64"]
    for other, words in (("amd64", "no guest kernel in"), ("arm64", "no guest kernel for arm64 in")):
        with pytest.raises(Unavailable, match=words) as caught:
            store.default(other)
        assert caught.value.remedies[0].call == "kernels.fetch"
    assert caught.value.remedies[0].options == {"platform": "linux/arm64"}


def test_a_package_with_another_architectures_kernel_is_refused(foreign: Path, tmp_path: Path) -> None:
    foreign.write_bytes(plain_image(b"ARM\x64"))
    with pytest.raises(Unavailable, match="its kernel is for arm64, not for riscv64"):
        KernelStore(tmp_path / "cache").fetch_debian(print, "riscv64")


def test_there_are_not_kernels_for_everything(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no guest kernel for 'mips64le'"):
        KernelStore(tmp_path / "cache").fetch_debian(print, "mips64le")
