"""The wire contract's numbers: frames, operations, events, and every field's tag with how it is written.

This and the records of ``operations.py`` are the contract.  ``tools/make_wire.py`` makes the guest's side of them:
``guest/include/hyper_wire.h`` (with the comments here that stand behind a name) and ``guest/init/rules.c``.  How it
works is in ``docs/wire-protocol.md``.
"""

from __future__ import annotations

import struct
from enum import Enum, IntEnum, IntFlag
from typing import Final, Self

VERSION: Final = 1
SYNC: Final = b"\x93hyper\r\n\x1a\x00sync\xfe\x01"  # no text, no common binary format
SYNC_BYTES: Final = 16
FRAME_HEADER: Final = 16
FRAME_TRAILER: Final = 4
FRAME_MAX: Final = 65536
PADDING: Final = FRAME_HEADER + FRAME_MAX + FRAME_TRAILER
MESSAGE_MAX: Final = 4 * 1024 * 1024
FIELD_HEADER: Final = 8
OUTPUT_WINDOW: Final = 131072
INPUT_WINDOW: Final = 524288
PORT_NAME: Final = "hyper.agent"  # the virtio-serial port's, in /sys/class/virtio-ports
PING_MAX: Final = 64
PROCESS_MAX: Final = (1 << 30) - 1
NAME_MAX: Final = 64  # bytes of a container's, volume's or directory's name
VOLUMES_POINT: Final = "/run/pod"  # in the VM: volumes are mounted in it, by their names

HEADER: Final = struct.Struct("<IHHII")  # length, type, flags, stream, session
TRAILER: Final = struct.Struct("<I")  # session
FIELD: Final = struct.Struct("<HHI")  # tag, zero, length
CREDIT: Final = struct.Struct("<QQ")  # acknowledged, limit
GREETING: Final = struct.Struct("<II")  # version, session
REQUEST: Final = struct.Struct("<IHH")  # request id, operation, zero
RESPONSE: Final = struct.Struct("<II")  # request id, errno
EVENT: Final = struct.Struct("<HHI")  # event, zero, zero


class Frame(IntEnum):
    HELLO = 1
    WELCOME = 2
    REQUEST = 3
    RESPONSE = 4
    EVENT = 5
    DATA = 6
    EOF = 7
    CREDIT = 8
    RESET = 9
    PING = 10  # either side
    PONG = 11  # the same payload back


class Flag(IntFlag):
    MORE = 1  # this message goes on in the next frame of its type


class Stream(IntEnum):
    STDIN = 0
    STDOUT = 1
    STDERR = 2


class Operation(IntEnum):
    CONFIGURE = 1  # the VM as a whole, before the first container
    CONTAINER_CREATE = 2  # mounts a container's root and all under it; on failure nothing of it is left
    PROCESS_START = (
        3  # answers with PID when exec has succeeded, else with its errno, and MESSAGE names the program
    )
    PROCESS_SIGNAL = 4
    PROCESS_RESIZE = 5
    PROCESS_FORGET = 6  # EBUSY while it runs
    CONTAINER_DESTROY = 7  # kills what runs in it, unmounts it, syncs its disk
    CONTAINER_FREEZE = 8  # answers when all is frozen, or thawed
    CONTAINER_PROCESSES = 9  # answers TASK*
    STATS = 10  # answers STAT*
    CONTAINER_UPDATE = 11
    SHUTDOWN = 12  # answers, kills all, syncs, unmounts, powers off
    SET_TIME = 13
    PREPARE = 14  # EBUSY after the first container; the session ends with the answer
    VOLUME_ADD = 15
    VOLUME_REMOVE = 16  # EBUSY while a container has it; ENOENT
    VOLUME_GROW = 17  # answers when its ext4 has all of a disk that has got SIZE bytes
    VOLUME_FREEZE = (
        18  # nothing is written to it for LIMIT_MS, or until it is asked again; ESTALE where that is over
    )


class Event(IntEnum):
    PROCESS_EXITED = 1
    OOM = 2
    LOG = 3
    CORRUPTED = 4  # a block of some LOWER was not what its ROOT_HASH says


class Kind(Enum):
    """How a value is written.  SHOWN is text that a guest writes for people: whatever it is, it can be shown."""

    FLAG = "flag"  # a u32, 0 or 1
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    TEXT = "text"  # without NUL
    SHOWN = "shown"
    BYTES = "bytes"
    NESTED = "nested"  # fields again


class Tag(IntEnum):
    """Number, kind, and of text and bytes how many at most (0: as many as a message holds)."""

    kind: Kind
    bytes_max: int

    def __new__(cls, number: int, kind: Kind, bytes_max: int = 0) -> Self:
        member = int.__new__(cls, number)
        member._value_ = number
        member.kind, member.bytes_max = kind, bytes_max
        return member

    MESSAGE = 1, Kind.SHOWN  # for people

    # WELCOME
    AGENT = 2, Kind.SHOWN  # hyperstart's version
    KERNEL = 3, Kind.SHOWN  # uname -r
    UPTIME_NS = 4, Kind.U64  # CLOCK_BOOTTIME at this moment
    PROCESS_STATE = 5, Kind.NESTED
    STREAM_STATE = 6, Kind.NESTED
    STREAM = 7, Kind.U32
    ACKED = 8, Kind.U64
    END = 9, Kind.U64
    AT_EOF = 10, Kind.FLAG
    EXITED = 11, Kind.FLAG

    # everywhere
    CONTAINER = 16, Kind.TEXT, NAME_MAX  # 1 to 64 of [A-Za-z0-9_.-]
    PROCESS = 17, Kind.U32  # 1 .. PROCESS_MAX, chosen by the host, never used twice in a VM
    PID = 18, Kind.U32  # in the VM's own PID namespace
    INIT = 19, Kind.FLAG
    WAIT_STATUS = 20, Kind.U32  # as from waitpid(2)
    TIME_NS = 21, Kind.U64  # since the epoch
    OOM = 22, Kind.FLAG

    # CONFIGURE
    HOSTNAME = 32, Kind.TEXT, 64
    DOMAINNAME = 33, Kind.TEXT, 64
    ENTROPY = 34, Kind.BYTES, 4096  # credited to the kernel's pool
    INTERFACE = 35, Kind.NESTED
    MAC = 36, Kind.BYTES, 6  # finds the device
    ADDRESS = 37, Kind.TEXT, 64  # "10.0.2.15/24" or IPv6
    GATEWAY = 38, Kind.TEXT, 64
    MTU = 39, Kind.U32
    NAME = 40, Kind.TEXT, 255
    SYSCTL = 41, Kind.NESTED
    VALUE = 42, Kind.TEXT, 4095
    NEW_MAC = 43, Kind.BYTES, 6  # what a clone's device gets instead of its template's
    RELEASE_DISKS = 44, Kind.FLAG  # unbind disks until one is asked for
    DOWN = 45, Kind.FLAG  # it leads nowhere any more
    ROUTE = 46, Kind.TEXT, 128  # "10.9.0.0/16 10.1.1.1"; without a gateway: on the link

    # CONTAINER_CREATE, PREPARE, VOLUME_ADD
    LOWER = 48, Kind.NESTED  # the image's read-only disk
    UPPER = 49, Kind.NESTED  # the writable disk
    SERIAL = 50, Kind.TEXT, 64  # the disk's virtio serial
    FILESYSTEM = 51, Kind.TEXT, 32
    READ_ONLY = 52, Kind.FLAG
    MOUNT = 53, Kind.NESTED  # in order
    TYPE = 54, Kind.TEXT, 32  # "proc", "tmpfs", "ext4", "bind", ...
    SOURCE = 55, Kind.TEXT, 4095
    TARGET = (
        56,
        Kind.TEXT,
        4095,
    )  # in the container's root, made if missing, never outside (openat2 RESOLVE_IN_ROOT)
    FLAGS = 57, Kind.U64  # MS_*
    MOUNT_DATA = 58, Kind.TEXT, 4095
    FILE = 59, Kind.NESTED
    PATH = 60, Kind.TEXT, 4095
    MODE = 61, Kind.U32
    UID = 62, Kind.U32
    GID = 63, Kind.U32
    CONTENT = 64, Kind.BYTES
    BIND = 65, Kind.FLAG
    DEVICE = 66, Kind.NESTED
    MAJOR = 67, Kind.U32
    MINOR = 68, Kind.U32
    MASKED_PATH = 69, Kind.TEXT, 4095
    READONLY_PATH = 70, Kind.TEXT, 4095
    PID_MODE = 71, Kind.U32  # 0: a PID namespace of its own; 1: the one of all containers that say so
    MEMORY_MAX = 72, Kind.U64  # bytes
    CPU_MAX = 73, Kind.TEXT, 63  # as in cpu.max: "50000 100000"
    CPU_WEIGHT = 74, Kind.U32  # 1 to 10000
    PIDS_MAX = 75, Kind.U64
    PRIVILEGED = 76, Kind.FLAG  # sysfs and cgroup writable, devices of the VM visible
    SCRATCH = 77, Kind.FLAG  # no UPPER, but a writable root in memory
    OFFSET = 78, Kind.U64  # bytes, a multiple of 512; with LENGTH: only this part of the disk
    LENGTH = 79, Kind.U64
    DIRECTORY = 80, Kind.TEXT, NAME_MAX  # one name: UPPER is this directory of the disk, not all of it
    DISCARD = 81, Kind.FLAG  # its UPPER's DIRECTORY is removed too
    COPY_UP = 82, Kind.FLAG  # what the root has at TARGET is copied into SOURCE where that is empty
    OWNER = 83, Kind.TEXT, 255  # user[:group], looked up in the root, in place of UID and GID
    TIDY = 84, Kind.FLAG  # an empty lost+found goes
    JOINED = 85, Kind.TEXT, 4095  # of BIND: the first of these in the root goes before CONTENT
    SIZE = 86, Kind.U64  # bytes
    LIMIT_MS = 87, Kind.U32
    GROW = 88, Kind.FLAG  # its ext4 gets all of its disk
    OTHER_DATA = 89, Kind.TEXT, 4095  # tried in turn where MOUNT_DATA is nothing that kernel and server speak
    ROOT_HASH = 90, Kind.TEXT, 64  # of LOWER, dm-verity's, in hexadecimal; the tree is behind SIZE bytes

    # PROCESS_START and after
    ARG = 96, Kind.TEXT
    ENV = 97, Kind.TEXT  # "NAME=value"; HOME comes from the image's passwd where it is missing
    CWD = 98, Kind.TEXT, 4095  # of CONTAINER_CREATE: made if it is missing, while the root can be written to
    USER = 99, Kind.TEXT, 255  # "", "name", "uid", "name:group", "uid:gid", ... looked up in the root
    GROUP = 100, Kind.TEXT, 255  # name or number of one more group
    CAP_BOUNDING = 101, Kind.U64
    CAP_EFFECTIVE = 102, Kind.U64
    CAP_PERMITTED = 103, Kind.U64
    CAP_INHERITABLE = 104, Kind.U64
    CAP_AMBIENT = 105, Kind.U64
    RLIMIT = 106, Kind.NESTED
    RESOURCE = 107, Kind.U32  # RLIMIT_*
    SOFT = 108, Kind.U64  # ~0 for no limit
    HARD = 109, Kind.U64
    NO_NEW_PRIVS = 110, Kind.FLAG
    SECCOMP = 111, Kind.BYTES  # struct sock_filter[]
    TTY = 112, Kind.FLAG
    ROWS = 113, Kind.U32
    COLUMNS = 114, Kind.U32
    WITH_STDIN = 115, Kind.FLAG  # else stdin is /dev/null, or with TTY a terminal without input
    OOM_SCORE_ADJ = 116, Kind.I32
    UMASK = 117, Kind.U32
    SIGNAL = 118, Kind.U32
    ALL = 119, Kind.FLAG
    FROZEN = 120, Kind.FLAG
    REAPER = 121, Kind.FLAG  # with INIT: a small reaping init of the agent's is PID 1, the program its child
    TOOLS = (
        122,
        Kind.TEXT,
        NAME_MAX,
    )  # of a process of the VM: whose root its program and libraries are taken from

    PATIENT = (
        123,
        Kind.FLAG,
    )  # PID 1 of a namespace that has no handler for SIGNAL yet gets it when it has one; answered at once

    # answers
    TASK = 128, Kind.NESTED
    PARENT = 129, Kind.U32
    CONTAINER_PID = 130, Kind.U32
    START_NS = 131, Kind.U64  # since boot
    CPU_NS = 132, Kind.U64
    RSS_BYTES = 133, Kind.U64
    STATE = 134, Kind.SHOWN  # one letter as in /proc/PID/stat
    COMMAND = 135, Kind.SHOWN  # cmdline with NUL turned to space, or "[comm]"; at most 4096 bytes
    TERMINAL = 136, Kind.SHOWN  # "pts/0" or "?"
    STAT = 137, Kind.NESTED
    NUMBER = 138, Kind.U64
    VIRTUAL_BYTES = 139, Kind.U64
    THREADS = 140, Kind.U32
    COMM = 141, Kind.SHOWN  # the kernel's name of it, at most 15 bytes


def stream_id(process: int, which: Stream) -> int:
    """The number under which a process's standard stream travels."""
    return process * 4 + which


def split_stream_id(stream: int) -> tuple[int, int]:
    """(process, which); ``which`` may be 3, which is no stream."""
    return stream >> 2, stream & 3
