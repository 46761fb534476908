"""The command line of User Mode Linux, to the letter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypercontainer.hypervisor.spec import DiskSpec, Nic, ShareSpec, Tap, VMSpec
from hypercontainer.hypervisor.uml.argv import Mode, plan_fds, uml_argv
from nics import nat_nic

IMAGE = DiskSpec("image", ((Path("/l/1"), 512), (Path("/l/2"), 1 << 40)), read_only=True)
DISK = DiskSpec("disk", ((Path("/d"), 1 << 20),), read_only=False)
SPEC = VMSpec(
    id="a",
    name="web",
    run_dir=Path("/run/a"),
    kernel=Path("/linux-7"),
    initrd=Path("/initrd"),
    kernel_args=("quiet", "mem=1G"),
    memory_mib=128,
    vcpus=1,
    disks=(IMAGE, DISK),
    nics=(nat_nic(), Nic("52:54:00:12:34:57", Tap(Path("/run/net"), "tap7"))),
    shares=(ShareSpec("home", Path("/home"), read_only=False), ShareSpec("1", Path("/x"), read_only=True)),
)


def test_everything_is_a_descriptor() -> None:
    assert uml_argv(SPEC, plan_fds(SPEC), Mode.SECCOMP) == [
        *("/linux", "mem=128M", "con0=null:@0,fd:1", "console=tty0", "root=none", "seccomp=on"),
        *("hyper_port=@4,@5", "hyper.port=/dev/hyper-port", "mconsole=@6", "ubd_full=@7", "initrd=@8"),
        *("ubd0rd=@9/512+@10/1099511627776,,image", "ubd1d=@11/1048576,,disk"),
        "vec0:transport=fd,fd=12,mac=52:54:00:12:34:56",
        "vec1:transport=fd,fd=13,vnet=1,mac=52:54:00:12:34:57",
        *("virtio_uml.device=@14:26:home", "virtio_uml.device=@15:26:1"),
        *("quiet", "mem=1G"),  # the user's come last, and win
    ]


def test_guests_that_are_told_of_a_full_disk_tell_nobody() -> None:
    told = uml_argv(replace(SPEC, waits_for_room=False), plan_fds(SPEC), Mode.SECCOMP)
    assert [*told[:9], "ubd_full=@7", *told[9:]] == uml_argv(SPEC, plan_fds(SPEC), Mode.SECCOMP)


def test_what_is_not_there_takes_no_descriptor() -> None:
    bare = VMSpec("a", "web", Path("/run/a"), Path("/linux-7"), None, (), 64, 1, disks=(DISK,))
    assert uml_argv(bare, plan_fds(bare), Mode.PTRACE)[-2:] == ["ubd_full=@7", "ubd0d=@8/1048576,,disk"]
