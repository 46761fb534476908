"""Directories and files of the host that a guest mounts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hypercontainer.errors import InvalidArgument, LaunchError, NotSupported
from hypercontainer.hypervisor.driver import ExitReason, VMRecord
from hypercontainer.hypervisor.spec import SHARED_FILE, VIRTIOFS, ShareSpec
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import POWER_OFF, Harness
from hypercontainer.suite.linux import LinuxHarness


@contextmanager
def place() -> Iterator[Path]:
    """A directory that anybody may enter."""
    with TemporaryDirectory() as name:
        path = Path(name).resolve()
        path.chmod(0o755)
        (path / "folder").mkdir()
        (path / "file").write_text("content\n")
        yield path


def two(at: Path) -> tuple[ShareSpec, ShareSpec]:
    folder = ShareSpec("folder", at / "folder", read_only=False)
    return folder, ShareSpec("file", at / "file", read_only=True)


@case("shares", "letters")
async def a_vm_with_shares_lives_and_ends_like_any_other(harness: Harness) -> None:
    with place() as at:
        vm = await harness.launch(shares=two(at))
        assert VMRecord.from_json(vm.record.to_json()) == vm.record
        again = await harness.adopted(vm)
        assert (await again.kill()).reason is ExitReason.HOST_KILL
        powered_off = await harness.launch(POWER_OFF, shares=two(at))
        assert (await powered_off.wait()).reason is ExitReason.GUEST_SHUTDOWN
        assert (at / "file").read_text() == "content\n"


@case("shares")
async def what_cannot_be_shared_is_named_and_leaves_nothing(harness: Harness) -> None:
    with place() as at:
        os.mkfifo(at / "fifo")
        for name in ("gone", "fifo", "file/below"):
            spec = harness.spec(shares=(ShareSpec("it", at / name, read_only=False),))
            with pytest.raises(LaunchError, match=name):
                await harness.driver.launch(spec)
            assert not spec.run_dir.exists()


@case("shares")
async def tags_and_paths_are_checked(harness: Harness) -> None:
    with place() as at:
        one = two(at)[0]
        for wrong, word in (
            ((one, one), "one share each"),
            ((replace(one, tag="A"),), "tag"),
            ((replace(one, tag="a,b"),), "tag"),
            ((replace(one, path=Path("folder")),), "absolute"),
            (tuple(replace(one, tag=f"t{number}") for number in range(13)), "at most"),
        ):
            with pytest.raises(InvalidArgument, match=word):
                await harness.driver.launch(harness.spec(shares=wrong))


@case("shares", "templates")
async def a_vm_with_shares_is_neither_saved_nor_cloned(harness: Harness) -> None:
    snapshot = await harness.saved()
    with place() as at:
        with pytest.raises(InvalidArgument, match="shares"):
            await harness.driver.launch_to_save(harness.spec(shares=two(at)))
        with pytest.raises(InvalidArgument, match="shares"):
            await harness.driver.clone(harness.spec(shares=two(at)), snapshot)


@case("shares", "linux")
async def a_guest_reads_and_writes_what_it_shares(harness: LinuxHarness) -> None:
    options = f"-t {harness.capabilities.shares}"
    if harness.capabilities.shares != VIRTIOFS:
        options += " -o trans=virtio,version=9p2000.L,msize=262144"
    script = (
        f"mkdir /a /b; mount {options} folder /a; mount {options} file /b; cat /b/{SHARED_FILE}\n"
        f"cat /a/from-host; echo guest >/a/from-guest; echo no 2>/dev/null >/b/{SHARED_FILE}; umount /a"
    )
    with place() as at:
        (at / "folder/from-host").write_text("host\n")
        said = await harness.says(script, shares=two(at))
        assert said.splitlines()[:2] == ["content", "host"]
        assert (at / "folder/from-guest").read_text() == "guest\n"
        assert (at / "file").read_text() == "content\n"


@case("no shares")
async def a_driver_without_shares_says_so(harness: Harness) -> None:
    with place() as at:
        spec = harness.spec(shares=two(at))
        with pytest.raises((NotSupported, LaunchError)):
            harness.owned(await harness.driver.launch(spec))
        assert not spec.run_dir.exists()
