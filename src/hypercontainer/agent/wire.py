"""The wire contract's numbers: a mirror of ``guest/include/hyper_wire.h``, which a test holds it to.

The header is the source; its comments give the meaning of every operation, event and tag.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

VERSION: Final = 1
SYNC: Final = b"\x93hyper\r\n\x1a\x00sync\xfe\x01"
SYNC_BYTES: Final = 16
FRAME_HEADER: Final = 16
FRAME_TRAILER: Final = 4
FRAME_MAX: Final = 65536
PADDING: Final = FRAME_HEADER + FRAME_MAX + FRAME_TRAILER
MESSAGE_MAX: Final = 4 * 1024 * 1024
FIELD_HEADER: Final = 8
OUTPUT_WINDOW: Final = 131072
INPUT_WINDOW: Final = 131072
PORT_NAME: Final = "hyper.agent"
PING_MAX: Final = 64
PROCESS_MAX: Final = (1 << 30) - 1

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
    PING = 10
    PONG = 11


class Flag(IntFlag):
    MORE = 1


class Stream(IntEnum):
    STDIN = 0
    STDOUT = 1
    STDERR = 2


class Operation(IntEnum):
    CONFIGURE = 1
    CONTAINER_CREATE = 2
    PROCESS_START = 3
    PROCESS_SIGNAL = 4
    PROCESS_RESIZE = 5
    PROCESS_FORGET = 6
    CONTAINER_DESTROY = 7
    CONTAINER_FREEZE = 8
    CONTAINER_PROCESSES = 9
    STATS = 10
    CONTAINER_UPDATE = 11
    SHUTDOWN = 12
    SET_TIME = 13
    PREPARE = 14
    VOLUME_ADD = 15
    VOLUME_REMOVE = 16


class Event(IntEnum):
    PROCESS_EXITED = 1
    OOM = 2
    LOG = 3


class Tag(IntEnum):
    MESSAGE = 1
    AGENT = 2
    KERNEL = 3
    UPTIME_NS = 4
    PROCESS_STATE = 5
    STREAM_STATE = 6
    STREAM = 7
    ACKED = 8
    END = 9
    AT_EOF = 10
    EXITED = 11
    CONTAINER = 16
    PROCESS = 17
    PID = 18
    INIT = 19
    WAIT_STATUS = 20
    TIME_NS = 21
    OOM = 22
    HOSTNAME = 32
    DOMAINNAME = 33
    ENTROPY = 34
    INTERFACE = 35
    MAC = 36
    ADDRESS = 37
    GATEWAY = 38
    MTU = 39
    NAME = 40
    SYSCTL = 41
    VALUE = 42
    NEW_MAC = 43
    RELEASE_DISKS = 44
    LOWER = 48
    UPPER = 49
    SERIAL = 50
    FILESYSTEM = 51
    READ_ONLY = 52
    MOUNT = 53
    TYPE = 54
    SOURCE = 55
    TARGET = 56
    FLAGS = 57
    MOUNT_DATA = 58
    FILE = 59
    PATH = 60
    MODE = 61
    UID = 62
    GID = 63
    CONTENT = 64
    BIND = 65
    DEVICE = 66
    MAJOR = 67
    MINOR = 68
    MASKED_PATH = 69
    READONLY_PATH = 70
    PID_MODE = 71
    MEMORY_MAX = 72
    CPU_MAX = 73
    CPU_WEIGHT = 74
    PIDS_MAX = 75
    PRIVILEGED = 76
    SCRATCH = 77
    OFFSET = 78
    LENGTH = 79
    DIRECTORY = 80
    DISCARD = 81
    COPY_UP = 82
    OWNER = 83
    ARG = 96
    ENV = 97
    CWD = 98
    USER = 99
    GROUP = 100
    CAP_BOUNDING = 101
    CAP_EFFECTIVE = 102
    CAP_PERMITTED = 103
    CAP_INHERITABLE = 104
    CAP_AMBIENT = 105
    RLIMIT = 106
    RESOURCE = 107
    SOFT = 108
    HARD = 109
    NO_NEW_PRIVS = 110
    SECCOMP = 111
    TTY = 112
    ROWS = 113
    COLUMNS = 114
    WITH_STDIN = 115
    OOM_SCORE_ADJ = 116
    UMASK = 117
    SIGNAL = 118
    ALL = 119
    FROZEN = 120
    REAPER = 121
    TOOLS = 122
    TASK = 128
    PARENT = 129
    CONTAINER_PID = 130
    START_NS = 131
    CPU_NS = 132
    RSS_BYTES = 133
    STATE = 134
    COMMAND = 135
    TERMINAL = 136
    STAT = 137
    NUMBER = 138


def stream_id(process: int, which: Stream) -> int:
    """The number under which a process's standard stream travels."""
    return process * 4 + which


def split_stream_id(stream: int) -> tuple[int, int]:
    """(process, which); ``which`` may be 3, which is no stream."""
    return stream >> 2, stream & 3
