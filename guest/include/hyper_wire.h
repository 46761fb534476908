/*
 * The wire contract between hyperd and hyperstart.  How it works: docs/wire-protocol.md.
 * Made of src/hypercontainer/agent/wire.py and contract/limits.py by tools/make_wire.py; change it there.
 */
#ifndef HYPER_WIRE_H
#define HYPER_WIRE_H

#define HYPER_VERSION 1
#define HYPER_SYNC "\223hyper\015\012\032\000sync\376\001" /* no text, no common binary format */
#define HYPER_SYNC_BYTES 16
#define HYPER_FRAME_HEADER 16
#define HYPER_FRAME_TRAILER 4
#define HYPER_FRAME_MAX 65536
#define HYPER_PADDING 65556
#define HYPER_MESSAGE_MAX 4194304
#define HYPER_FIELD_HEADER 8
#define HYPER_OUTPUT_WINDOW 131072
#define HYPER_INPUT_WINDOW 524288
#define HYPER_PORT_NAME "hyper.agent" /* the virtio-serial port's, in /sys/class/virtio-ports */
#define HYPER_PING_MAX 64
#define HYPER_PROCESS_MAX 1073741823
#define HYPER_NAME_MAX 64 /* bytes of a container's, volume's or directory's name */
#define HYPER_VOLUMES_POINT "/run/pod" /* in the VM: volumes are mounted in it, by their names */
#define HYPER_CONTAINERS_MAX 128

enum hyper_frame {
	HYPER_HELLO = 1,
	HYPER_WELCOME = 2,
	HYPER_REQUEST = 3,
	HYPER_RESPONSE = 4,
	HYPER_EVENT = 5,
	HYPER_DATA = 6,
	HYPER_EOF = 7,
	HYPER_CREDIT = 8,
	HYPER_RESET = 9,
	HYPER_PING = 10, /* either side */
	HYPER_PONG = 11, /* the same payload back */
};

enum hyper_flag {
	HYPER_FLAG_MORE = 1, /* this message goes on in the next frame of its type */
};

enum hyper_stream {
	HYPER_STDIN = 0,
	HYPER_STDOUT = 1,
	HYPER_STDERR = 2,
};

enum hyper_operation {
	HYPER_OP_CONFIGURE = 1, /* the VM as a whole, before the first container */
	HYPER_OP_CONTAINER_CREATE = 2, /* mounts a container's root and all under it; on failure nothing of it is left */
	HYPER_OP_PROCESS_START = 3,
	HYPER_OP_PROCESS_SIGNAL = 4,
	HYPER_OP_PROCESS_RESIZE = 5,
	HYPER_OP_PROCESS_FORGET = 6, /* EBUSY while it runs */
	HYPER_OP_CONTAINER_DESTROY = 7, /* kills what runs in it, unmounts it, syncs its disk */
	HYPER_OP_CONTAINER_FREEZE = 8, /* answers when all is frozen, or thawed */
	HYPER_OP_CONTAINER_PROCESSES = 9, /* answers TASK* */
	HYPER_OP_STATS = 10, /* answers STAT* */
	HYPER_OP_CONTAINER_UPDATE = 11,
	HYPER_OP_SHUTDOWN = 12, /* answers, kills all, syncs, unmounts, powers off */
	HYPER_OP_SET_TIME = 13,
	HYPER_OP_PREPARE = 14, /* EBUSY after the first container; the session ends with the answer */
	HYPER_OP_VOLUME_ADD = 15,
	HYPER_OP_VOLUME_REMOVE = 16, /* EBUSY while a container has it; ENOENT */
	HYPER_OP_VOLUME_GROW = 17, /* answers when its ext4 has all of a disk that has got SIZE bytes */
	HYPER_OP_VOLUME_FREEZE = 18,
};

enum hyper_event {
	HYPER_EVENT_PROCESS_EXITED = 1,
	HYPER_EVENT_OOM = 2,
	HYPER_EVENT_LOG = 3,
	HYPER_EVENT_CORRUPTED = 4, /* a block of some LOWER was not what its ROOT_HASH says */
};

enum hyper_tag {
	HYPER_MESSAGE = 1, /* for people */

	/* WELCOME */
	HYPER_AGENT = 2, /* hyperstart's version */
	HYPER_KERNEL = 3, /* uname -r */
	HYPER_UPTIME_NS = 4, /* CLOCK_BOOTTIME at this moment */
	HYPER_PROCESS_STATE = 5,
	HYPER_STREAM_STATE = 6,
	HYPER_STREAM = 7,
	HYPER_ACKED = 8,
	HYPER_END = 9,
	HYPER_AT_EOF = 10,
	HYPER_EXITED = 11,

	/* everywhere */
	HYPER_CONTAINER = 16, /* 1 to 64 of [A-Za-z0-9_.-] */
	HYPER_PROCESS = 17, /* 1 .. PROCESS_MAX, chosen by the host, never used twice in a VM */
	HYPER_PID = 18, /* in the VM's own PID namespace */
	HYPER_INIT = 19,
	HYPER_WAIT_STATUS = 20, /* as from waitpid(2) */
	HYPER_TIME_NS = 21, /* since the epoch */
	HYPER_OOM = 22,

	/* CONFIGURE */
	HYPER_HOSTNAME = 32,
	HYPER_DOMAINNAME = 33,
	HYPER_ENTROPY = 34, /* credited to the kernel's pool */
	HYPER_INTERFACE = 35,
	HYPER_MAC = 36, /* finds the device */
	HYPER_ADDRESS = 37, /* "10.0.2.15/24" or IPv6 */
	HYPER_GATEWAY = 38,
	HYPER_MTU = 39,
	HYPER_NAME = 40,
	HYPER_SYSCTL = 41,
	HYPER_VALUE = 42,
	HYPER_NEW_MAC = 43, /* what a clone's device gets instead of its template's */
	HYPER_RELEASE_DISKS = 44, /* unbind disks until one is asked for */
	HYPER_DOWN = 45, /* it leads nowhere any more */
	HYPER_ROUTE = 46, /* "10.9.0.0/16 10.1.1.1"; without a gateway: on the link */

	/* CONTAINER_CREATE, PREPARE, VOLUME_ADD */
	HYPER_LOWER = 48, /* the image's read-only disk */
	HYPER_UPPER = 49, /* the writable disk */
	HYPER_SERIAL = 50, /* the disk's virtio serial */
	HYPER_FILESYSTEM = 51,
	HYPER_READ_ONLY = 52,
	HYPER_MOUNT = 53, /* in order */
	HYPER_TYPE = 54, /* "proc", "tmpfs", "ext4", "bind", ... */
	HYPER_SOURCE = 55,
	HYPER_TARGET = 56,
	HYPER_FLAGS = 57, /* MS_* */
	HYPER_MOUNT_DATA = 58,
	HYPER_FILE = 59,
	HYPER_PATH = 60,
	HYPER_MODE = 61,
	HYPER_UID = 62,
	HYPER_GID = 63,
	HYPER_CONTENT = 64,
	HYPER_BIND = 65,
	HYPER_DEVICE = 66,
	HYPER_MAJOR = 67,
	HYPER_MINOR = 68,
	HYPER_MASKED_PATH = 69,
	HYPER_READONLY_PATH = 70,
	HYPER_PID_MODE = 71, /* 0: a PID namespace of its own; 1: the one of all containers that say so */
	HYPER_MEMORY_MAX = 72, /* bytes */
	HYPER_CPU_MAX = 73, /* as in cpu.max: "50000 100000" */
	HYPER_CPU_WEIGHT = 74, /* 1 to 10000 */
	HYPER_PIDS_MAX = 75,
	HYPER_PRIVILEGED = 76, /* sysfs and cgroup writable, devices of the VM visible */
	HYPER_SCRATCH = 77, /* no UPPER, but a writable root in memory */
	HYPER_OFFSET = 78, /* bytes, a multiple of 512; with LENGTH: only this part of the disk */
	HYPER_LENGTH = 79,
	HYPER_DIRECTORY = 80, /* one name: UPPER is this directory of the disk, not all of it */
	HYPER_DISCARD = 81, /* its UPPER's DIRECTORY is removed too */
	HYPER_COPY_UP = 82, /* what the root has at TARGET is copied into SOURCE where that is empty */
	HYPER_OWNER = 83, /* user[:group], looked up in the root, in place of UID and GID */
	HYPER_TIDY = 84, /* an empty lost+found goes */
	HYPER_JOINED = 85, /* of BIND: the first of these in the root goes before CONTENT */
	HYPER_SIZE = 86, /* bytes */
	HYPER_LIMIT_MS = 87,
	HYPER_GROW = 88, /* its ext4 gets all of its disk */
	HYPER_OTHER_DATA = 89, /* tried in turn where MOUNT_DATA is nothing that kernel and server speak */
	HYPER_ROOT_HASH = 90, /* of LOWER, dm-verity's, in hexadecimal; the tree is behind SIZE bytes */

	/* PROCESS_START and after */
	HYPER_ARG = 96,
	HYPER_ENV = 97, /* "NAME=value"; HOME comes from the image's passwd where it is missing */
	HYPER_CWD = 98, /* of CONTAINER_CREATE: made if it is missing, while the root can be written to */
	HYPER_USER = 99, /* "", "name", "uid", "name:group", "uid:gid", ... looked up in the root */
	HYPER_GROUP = 100, /* name or number of one more group */
	HYPER_CAP_BOUNDING = 101,
	HYPER_CAP_EFFECTIVE = 102,
	HYPER_CAP_PERMITTED = 103,
	HYPER_CAP_INHERITABLE = 104,
	HYPER_CAP_AMBIENT = 105,
	HYPER_RLIMIT = 106,
	HYPER_RESOURCE = 107, /* RLIMIT_* */
	HYPER_SOFT = 108, /* ~0 for no limit */
	HYPER_HARD = 109,
	HYPER_NO_NEW_PRIVS = 110,
	HYPER_SECCOMP = 111, /* struct sock_filter[] */
	HYPER_TTY = 112,
	HYPER_ROWS = 113,
	HYPER_COLUMNS = 114,
	HYPER_WITH_STDIN = 115, /* else stdin is /dev/null, or with TTY a terminal without input */
	HYPER_OOM_SCORE_ADJ = 116,
	HYPER_UMASK = 117,
	HYPER_SIGNAL = 118,
	HYPER_ALL = 119,
	HYPER_FROZEN = 120,
	HYPER_REAPER = 121, /* with INIT: a small reaping init of the agent's is PID 1, the program its child */
	HYPER_TOOLS = 122,
	HYPER_PATIENT = 123,

	/* answers */
	HYPER_TASK = 128,
	HYPER_PARENT = 129,
	HYPER_CONTAINER_PID = 130,
	HYPER_START_NS = 131, /* since boot */
	HYPER_CPU_NS = 132,
	HYPER_RSS_BYTES = 133,
	HYPER_STATE = 134, /* one letter as in /proc/PID/stat */
	HYPER_COMMAND = 135, /* cmdline with NUL turned to space, or "[comm]"; at most 4096 bytes */
	HYPER_TERMINAL = 136, /* "pts/0" or "?" */
	HYPER_STAT = 137,
	HYPER_NUMBER = 138,
	HYPER_VIRTUAL_BYTES = 139,
	HYPER_THREADS = 140,
	HYPER_COMM = 141, /* the kernel's name of it, at most 15 bytes */
};

#endif
