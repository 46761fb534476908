"""Records and their fields: nothing is lost on the way, and nothing but a record is taken for one."""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.agent import operations
from hypercontainer.agent.fields import LIST_MAX, decode, encode, field, printable, split
from hypercontainer.agent.operations import (
    ContainerPlan,
    Device,
    Disk,
    File,
    Interface,
    Mount,
    ProcessPlan,
    ProcessState,
    Rlimit,
    Stat,
    StatList,
    StreamState,
    Sysctl,
    Task,
    Tasks,
    VmConfig,
    Welcome,
)
from hypercontainer.agent.stats import Stats
from hypercontainer.agent.wire import Tag
from hypercontainer.engine.process.process import exit_status
from hypercontainer.errors import AgentProtocolError, InvalidArgument

RECORDS = [
    VmConfig("h", "d", 1, b"e", (Interface(b"123456", "eth0", ("10.0.2.15/24",), ("10.0.2.2",), 1500),)),
    VmConfig("", "", 0, b"", sysctls=(Sysctl("a.b", ""),)),
    ContainerPlan(
        "c",
        Disk("image", "erofs"),
        Disk("disk", "ext4"),
        True,
        False,
        (Mount("proc", "/proc"), Mount("ext4", "/v", "", 6, "x=y", True, "vol")),
        (File("/etc/hosts", 0o644, b"\0binary", 1, 2, True),),
        (Device("/dev/null", 0o20666, 1, 3),),
        ("/proc/kcore",),
        ("/proc/sys",),
        (Sysctl("net.core.somaxconn", "1"),),
        1,
        1 << 40,
        "50000 100000",
        100,
        7,
        True,
    ),
    ProcessPlan("c", 1, ("sh", "", "-c"), "/", env=("A=\udcff",), oom_score_adj=-1000, umask=0, stdin=True),
    ProcessPlan("c", 2, ("x",), "/", rlimits=(Rlimit(7, 1, operations.UNLIMITED),), seccomp=b"\0" * 8),
    Welcome("1", "6.1", 3, ("c",), (ProcessState("c", 1, 2, True, streams=(StreamState(5, 1, 2, True),)),)),
    Tasks((Task(1, state="S", command="a b"),)),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_round_trip(record: Any) -> None:
    assert decode(type(record), encode(record)) == record


def test_every_record_is_well_formed() -> None:
    for name in dir(operations):
        cls = getattr(operations, name)
        if dataclasses.is_dataclass(cls) and isinstance(cls, type):
            with_nothing = all(f.default is not dataclasses.MISSING for f in dataclasses.fields(cls))
            if with_nothing:
                assert decode(cls, b"") == cls()
            else:
                with pytest.raises(AgentProtocolError, match="is missing"):
                    decode(cls, b"")


def test_form_on_the_wire() -> None:
    # umask 0 differs from "not said" and is sent; a default is not.
    assert encode(operations.ProcessSignal(5, 9, True)) == struct.pack(
        "<HHII HHII HHII", 17, 0, 4, 5, 118, 0, 4, 9, 119, 0, 4, 1
    )
    assert encode(operations.ProcessSignal(5, 9)) == struct.pack("<HHII HHII", 17, 0, 4, 5, 118, 0, 4, 9)
    assert field(Tag.UMASK, b"\0\0\0\0") in encode(ProcessPlan("c", 1, ("x",), "/", umask=0))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x11\0\0\0", "header is cut"),
        (b"\x11\0\0\0\x05\0\0\0\1\0\0\0", "wrong header"),
        (b"\x11\0\1\0\x04\0\0\0\1\0\0\0", "wrong header"),
        (field(Tag.PROCESS, b"\1\0\0"), "3 bytes, not 4"),
        (field(Tag.PROCESS, b"\1\0\0\0") * 2, "given twice"),
        (field(999, b""), "unknown field 999"),
        (field(Tag.PID, b"\1\0\0\0"), "unknown field 18"),
        (b"", "PROCESS is missing"),
    ],
)
def test_what_is_no_record(data: bytes, what: str) -> None:
    with pytest.raises(AgentProtocolError, match=what):
        decode(operations.ProcessName, data)


def test_lists_are_bounded() -> None:
    with pytest.raises(AgentProtocolError, match="more than"):
        decode(Welcome, field(Tag.CONTAINER, b"c") * (LIST_MAX + 1))


def test_text_without_nul() -> None:
    with pytest.raises(AgentProtocolError, match="NUL"):
        decode(operations.ContainerName, field(Tag.CONTAINER, b"a\0b"))
    with pytest.raises(InvalidArgument, match="NUL"):
        encode(ProcessPlan("c", 1, ("a\0b",), "/"))


def test_values_that_do_not_fit_name_their_field() -> None:
    with pytest.raises(InvalidArgument, match="rows"):
        encode(operations.ProcessResize(1, -1, 80))
    with pytest.raises(InvalidArgument, match="message holds"):
        encode(ProcessPlan("c", 1, ("x" * (4 << 20),), "/"))


def test_what_a_guest_says_can_be_shown() -> None:
    assert printable("läuft".encode()) == "läuft"
    assert printable(b"\x1b[2Jboo\n\tx\xff") == "\ufffd[2Jboo  x\ufffd"
    shown = decode(operations.GuestLog, field(Tag.MESSAGE, b"a\x1b]0;x\x07"))
    assert shown.message.isprintable()


def test_stats_by_name() -> None:
    answer = StatList((Stat("cpu_ns", 5), Stat("from_the_future", 1), Stat("pids", 2)))
    assert Stats.of(answer) == Stats(cpu_ns=5, pids=2)


def test_stats_of_many() -> None:
    names = ("memory_stat anon", "disks 8:0 rbytes", "disks 8:0 wbytes", "interfaces eth0 rx_bytes")
    odd = ("memory_stat", "memory_stat a b", "disks 8:0", "cpu_ns x", "interfaces", "")
    found = Stats.of(StatList(tuple(Stat(name, number) for number, name in enumerate((*names, *odd)))))
    assert found.memory_stat == {"anon": 0} and found.interfaces == {"eth0": {"rx_bytes": 3}}
    assert found.disks == {"8:0": {"rbytes": 1, "wbytes": 2}} and found.cpu_ns == 0


def test_exit_status_as_a_shell_has_it() -> None:
    assert [exit_status(status << 8) for status in range(256)] == list(range(256))
    assert exit_status(9) == 137
    assert exit_status(15 | 0x80) == 143  # with a core dump


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_an_error(data: bytes) -> None:
    try:
        rebuilt = b"".join(field(tag, value) for tag, value in split(data))
    except AgentProtocolError:
        return
    assert rebuilt == data


@given(st.binary(max_size=300), st.sampled_from([type(record) for record in RECORDS]))
def test_any_bytes_are_a_record_or_an_error(data: bytes, cls: type[Any]) -> None:
    with contextlib.suppress(AgentProtocolError):
        decode(cls, data)


@given(st.data())
def test_a_record_with_one_byte_changed(data: st.DataObject) -> None:
    record = data.draw(st.sampled_from(RECORDS))
    encoded = bytearray(encode(record))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(AgentProtocolError):
        assert isinstance(decode(type(record), bytes(encoded)), type(record))
