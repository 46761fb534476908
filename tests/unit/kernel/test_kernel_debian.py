"""The fetch with apt and dpkg played by scripts, so that it needs neither network nor Debian."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import pytest

from hypercontainer.errors import Unavailable
from hypercontainer.kernel import KernelStore, debian, modules

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
    builtin = "".join(f"kernel/{name}.ko\n" for name in (*modules.REQUIRED, *modules.OPTIONAL))
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
    assert debian.resolve() == ("linux-image-6.1.0-9-amd64", "6.1.5-1")


def test_apt_without_lists_says_what_to_do(tools: Path) -> None:
    script(tools / "apt-cache", "#!/bin/sh\nexit 100\n")
    with pytest.raises(Unavailable, match="apt-get update"):
        debian.resolve()


def test_a_machine_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="apt-cache is missing"):
        debian.resolve()
