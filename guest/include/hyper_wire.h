/*
 * The wire contract between hyperd (host) and hyperstart (guest).  Version 1.
 *
 * Any byte pipe carries it: a virtio-serial port first, a vsock connection or a 16550 line too.  The pipe may be
 * cut and opened again at any byte (hyperd dies, the next one connects), so a session begins with a mark that a
 * reader can hunt for, and every frame carries its session's number twice.  All integers are little-endian.
 *
 * A session
 *
 *     host                                            guest
 *      | [padding: HYPER_PADDING zero bytes, only when another session may have been cut on this pipe]
 *      | SYNC mark (16 bytes), HELLO ------------------> |   abandons what it was reading or writing
 *      | <------------------ SYNC mark (16 bytes), WELCOME  lists containers, processes, stream offsets
 *      | CREDIT for every stream it wants -------------> |   nothing of a stream is sent before its first CREDIT
 *      | REQUEST / DATA / EOF / CREDIT <---------------> | RESPONSE / EVENT / DATA / EOF / CREDIT
 *
 * The host need not wait for WELCOME before it sends requests: on a cold start all that does not depend on the moment
 * is written at once and lies in the pipe until the guest has booted.
 *
 * A frame
 *
 *      0               4       6       8              12              16           16+length
 *     +---------------+-------+-------+---------------+---------------+-- ... ------+---------------+
 *     | length        | type  | flags | stream        | session       | payload     | session       |
 *     +---------------+-------+-------+---------------+---------------+-- ... ------+---------------+
 *
 * `length` counts the payload only, at most HYPER_FRAME_MAX.  `session` is chosen by the host at random, never 0,
 * and named in HELLO.  A frame with a wrong length, type, session or trailer is no frame: the guest drops it and
 * hunts for the next SYNC mark; the host gives the guest up.  (So a frame that was cut and then filled by padding
 * or by the next session's bytes is never taken for a whole one.)
 *
 * Messages: the payloads of HELLO, WELCOME, REQUEST, RESPONSE and EVENT.  One that is longer than a frame is cut
 * into consecutive frames of its type on stream 0, all but the last with HYPER_FLAG_MORE; at most
 * HYPER_MESSAGE_MAX bytes in all.  Frames of other streams may come between; frames of other message types not.
 *
 *     HELLO     u32 version, u32 session, fields
 *     WELCOME   u32 version, u32 session, fields
 *     REQUEST   u32 request id, u16 operation, u16 zero, fields
 *     RESPONSE  u32 request id, u32 errno (0: done), fields
 *     EVENT     u16 event, u16 zero, u32 zero, fields
 *
 * Fields: a sequence, in any order unless said otherwise; a repeated tag is a list.  A tag that the reader does
 * not know is an error (EINVAL, and the message names it): nothing that was asked for is silently left out.
 *
 *      0       2       4               8            8+length
 *     +-------+-------+---------------+-- ... ------+
 *     | tag   | zero  | length        | value       |    u32 and u64 values have length 4 and 8; a flag is a u32;
 *     +-------+-------+---------------+-- ... ------+    text is bytes without NUL; "nested" values are fields again
 *
 * Streams carry a process's standard streams; their number is process id * 4 + {0 stdin, 1 stdout, 2 stderr}.
 * With a terminal there is no stderr.  Offsets count bytes since the process began.  The sender keeps every byte
 * until it is acknowledged, and sends none beyond the limit that the receiver gave:
 *
 *     DATA    bytes (at least 1)
 *     EOF     no payload: no byte follows the ones sent so far
 *     CREDIT  u64 acknowledged, u64 limit: the receiver has these bytes for good, and takes bytes up to `limit`.
 *             Both only grow within a session.  The first CREDIT of a stream in a session also says where sending
 *             begins (again): at `acknowledged`, which the sender still has or the CREDIT is an error.
 *     RESET   no payload: the receiver wants no more; what comes is dropped (stdin: the process closed it)
 *
 * So one slow reader stops its own stream and nothing else, and neither side's memory grows.  Output that hyperd
 * has acknowledged is in its log; a guest whose hyperd is away keeps up to HYPER_OUTPUT_WINDOW bytes a stream and
 * then lets the process wait, and the next hyperd goes on at the first byte that its log lacks.
 *
 * After a process has exited the agent reads what its pipes hold, sends it and EOF, whoever else still has the
 * pipes open.  The PROCESS_EXITED event and the streams are independent of each other: a host that wants all
 * output waits for both.  An exited process and its streams are kept until PROCESS_FORGET.
 */
#ifndef HYPER_WIRE_H
#define HYPER_WIRE_H

#define HYPER_VERSION 1

/* 16 bytes: no text, no common binary format. */
#define HYPER_SYNC "\x93hyper\r\n\x1a\x00sync\xfe\x01"
#define HYPER_SYNC_BYTES 16

#define HYPER_FRAME_HEADER 16
#define HYPER_FRAME_TRAILER 4
#define HYPER_FRAME_MAX 65536
#define HYPER_PADDING (HYPER_FRAME_HEADER + HYPER_FRAME_MAX + HYPER_FRAME_TRAILER)
#define HYPER_MESSAGE_MAX (4 * 1024 * 1024)
#define HYPER_FIELD_HEADER 8
#define HYPER_OUTPUT_WINDOW 131072
#define HYPER_INPUT_WINDOW 131072

/* The virtio-serial port's name; the guest finds it as /sys/class/virtio-ports/ * /name. */
#define HYPER_PORT_NAME "hyper.agent"

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
	HYPER_PING = 10, /* either side; payload of at most 64 bytes */
	HYPER_PONG = 11, /* the same payload back */
};

#define HYPER_FLAG_MORE 1

enum hyper_stream {
	HYPER_STDIN = 0,
	HYPER_STDOUT = 1,
	HYPER_STDERR = 2,
};

enum hyper_operation {
	/* The VM as a whole, before the first container.  HOSTNAME, DOMAINNAME, TIME_NS, ENTROPY, INTERFACE*, SYSCTL*. */
	HYPER_OP_CONFIGURE = 1,
	/* Mounts a container's root and all under it.  CONTAINER, LOWER, UPPER?, READ_ONLY?, MOUNT*, FILE*, DEVICE*,
	 * MASKED_PATH*, READONLY_PATH*, SYSCTL*, PID_MODE?, MEMORY_MAX?, CPU_MAX?, CPU_WEIGHT?, PIDS_MAX?, PRIVILEGED?.
	 * On failure nothing of it is left. */
	HYPER_OP_CONTAINER_CREATE = 2,
	/* Starts the container's init (INIT set, once) or one more process in it.  CONTAINER, PROCESS, INIT?, ARG+,
	 * ENV*, CWD, USER?, GROUP*, CAP_*?, RLIMIT*, NO_NEW_PRIVS?, SECCOMP?, TTY?, ROWS?, COLUMNS?, STDIN?,
	 * OOM_SCORE_ADJ?, UMASK?, REAPER?.  Answers when exec has succeeded (PID) or failed (errno: ENOENT where the program
	 * or CWD's program is missing, EACCES, ENOEXEC, ...; MESSAGE names it). */
	HYPER_OP_PROCESS_START = 3,
	HYPER_OP_PROCESS_SIGNAL = 4,      /* PROCESS, SIGNAL, ALL? (every process of the container; with init only) */
	HYPER_OP_PROCESS_RESIZE = 5,      /* PROCESS, ROWS, COLUMNS */
	HYPER_OP_PROCESS_FORGET = 6,      /* PROCESS; EBUSY while it runs */
	HYPER_OP_CONTAINER_DESTROY = 7,   /* CONTAINER: kills what runs in it, unmounts it, syncs its disk */
	HYPER_OP_CONTAINER_FREEZE = 8,    /* CONTAINER, FROZEN (0 or 1); answers when all is frozen (thawed) */
	HYPER_OP_CONTAINER_PROCESSES = 9, /* CONTAINER; answers TASK* */
	HYPER_OP_STATS = 10,              /* CONTAINER? (else the VM); answers STAT* */
	HYPER_OP_CONTAINER_UPDATE = 11,   /* CONTAINER, MEMORY_MAX?, CPU_MAX?, CPU_WEIGHT?, PIDS_MAX? */
	HYPER_OP_SHUTDOWN = 12,           /* answers, kills all, syncs, unmounts, powers off */
	HYPER_OP_SET_TIME = 13,           /* TIME_NS */
	/* INTERFACE*, RELEASE_DISKS?, MOUNT*, DEVICE*, MASKED_PATH*, READONLY_PATH*.  Makes the VM ready to be saved and
	 * cloned: all that was put off is done, interfaces are up, and some containers are half made.  A CONTAINER_CREATE
	 * whose MOUNTs and DEVICEs begin with these and whose paths are these takes one of them over.  Before the first
	 * container (EBUSY).  The session ends with the answer: the guest waits for a SYNC mark as after boot. */
	HYPER_OP_PREPARE = 14,
	/* NAME, one of MOUNT (its TARGET is left out; RELATIVE to nothing) or UPPER (a directory of that disk, made if
	 * missing), GID?, MODE?, FILE*, READ_ONLY?.  Makes storage that the pod's containers share: it is mounted in the VM
	 * and a bind MOUNT of a container whose SOURCE is "NAME" or "NAME/path/below" shows it there.  GID: the root gets
	 * this group, set-group-ID and group rwx.  MODE: of the root.  FILEs are written into it.  One is always there:
	 * "hyper.shm", 64 MiB of memory for the containers' /dev/shm. */
	HYPER_OP_VOLUME_ADD = 15,
	HYPER_OP_VOLUME_REMOVE = 16, /* NAME; EBUSY while a container has it, ENOENT */
};

enum hyper_event {
	HYPER_EVENT_PROCESS_EXITED = 1, /* PROCESS, WAIT_STATUS, TIME_NS, OOM? */
	HYPER_EVENT_OOM = 2,            /* CONTAINER: the kernel killed something in it for memory */
	HYPER_EVENT_LOG = 3,            /* MESSAGE: something for the operator, at most 1024 bytes */
};

enum hyper_tag {
	HYPER_MESSAGE = 1, /* text, for people */

	/* WELCOME: AGENT, KERNEL, UPTIME_NS, CONTAINER*, PROCESS_STATE* */
	HYPER_AGENT = 2,         /* text: hyperstart's version */
	HYPER_KERNEL = 3,        /* text: uname -r */
	HYPER_UPTIME_NS = 4,     /* u64: CLOCK_BOOTTIME at this moment */
	HYPER_PROCESS_STATE = 5, /* nested: CONTAINER, PROCESS, PID, INIT?, EXITED? with WAIT_STATUS TIME_NS OOM?,
	                          * STREAM_STATE* */
	HYPER_STREAM_STATE = 6,  /* nested: STREAM, ACKED, END, AT_EOF?.  For stdin: ACKED = END = bytes consumed */
	HYPER_STREAM = 7,        /* u32 */
	HYPER_ACKED = 8,         /* u64 */
	HYPER_END = 9,           /* u64 */
	HYPER_AT_EOF = 10,       /* flag */
	HYPER_EXITED = 11,       /* flag */

	HYPER_CONTAINER = 16, /* text, 1..64 of [A-Za-z0-9_.-] */
	HYPER_PROCESS = 17,   /* u32, 1 .. 2^30-1, chosen by the host, never used twice in a VM */
	HYPER_PID = 18,       /* u32: in the VM's own PID namespace */
	HYPER_INIT = 19,      /* flag */
	HYPER_WAIT_STATUS = 20, /* u32 as from waitpid(2) */
	HYPER_TIME_NS = 21,     /* u64 since the epoch */
	HYPER_OOM = 22,         /* flag */

	/* CONFIGURE */
	HYPER_HOSTNAME = 32,
	HYPER_DOMAINNAME = 33,
	HYPER_ENTROPY = 34,   /* bytes, credited to the kernel's pool */
	HYPER_INTERFACE = 35, /* nested: MAC, NEW_MAC?, ADDRESS*, GATEWAY*, MTU?, NAME (the name it gets).  Without an IPv6
	                       * address the interface has no IPv6 */
	HYPER_MAC = 36,       /* 6 bytes; finds the device */
	HYPER_ADDRESS = 37,   /* text "10.0.2.15/24" or IPv6 */
	HYPER_GATEWAY = 38,   /* text */
	HYPER_MTU = 39,       /* u32 */
	HYPER_NAME = 40,      /* text */
	HYPER_SYSCTL = 41,    /* nested: NAME ("net.ipv4.ip_forward"), VALUE */
	HYPER_VALUE = 42,
	HYPER_RELEASE_DISKS = 44, /* flag: unbind disks until one is asked for; for kernels that read a disk's size only then */
	HYPER_NEW_MAC = 43, /* 6 bytes: what a clone's device gets instead of its template's */

	/* CONTAINER_CREATE */
	HYPER_LOWER = 48,  /* nested: SERIAL, FILESYSTEM: the image's read-only disk */
	HYPER_UPPER = 49,  /* nested: SERIAL, FILESYSTEM: the writable disk; absent: the root is read-only unless SCRATCH */
	HYPER_SERIAL = 50, /* text: the disk's virtio serial */
	HYPER_FILESYSTEM = 51,
	HYPER_READ_ONLY = 52,  /* flag: the root (or the MOUNT) is read-only */
	HYPER_MOUNT = 53,      /* nested: TYPE, SOURCE?, TARGET, FLAGS?, DATA?, READ_ONLY?, SERIAL?; in order.  TARGET is in the
	                        * container's root, made if missing, and never leaves it (openat2 RESOLVE_IN_ROOT) */
	HYPER_TYPE = 54,       /* text: "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2", "ext4", "bind", ... */
	HYPER_SOURCE = 55,
	HYPER_TARGET = 56,
	HYPER_FLAGS = 57,      /* u64: MS_* */
	HYPER_MOUNT_DATA = 58,
	HYPER_FILE = 59,       /* nested: PATH, MODE, UID?, GID?, CONTENT, BIND?: written into the root; with BIND kept outside
	                        * the writable disk and bind-mounted (resolv.conf, hosts, hostname) */
	HYPER_PATH = 60,
	HYPER_MODE = 61, /* u32 */
	HYPER_UID = 62,
	HYPER_GID = 63,
	HYPER_CONTENT = 64,
	HYPER_BIND = 65,   /* flag */
	HYPER_DEVICE = 66, /* nested: PATH, MODE (with S_IFCHR or S_IFBLK), MAJOR, MINOR, UID?, GID? */
	HYPER_MAJOR = 67,
	HYPER_MINOR = 68,
	HYPER_MASKED_PATH = 69,
	HYPER_READONLY_PATH = 70,
	HYPER_PID_MODE = 71,   /* u32: 0 its own PID namespace, 1 one shared by the pod's containers that say so */
	HYPER_MEMORY_MAX = 72, /* u64 bytes */
	HYPER_CPU_MAX = 73,    /* text as in cpu.max: "50000 100000" */
	HYPER_CPU_WEIGHT = 74, /* u32 1..10000 */
	HYPER_PIDS_MAX = 75,   /* u64 */
	HYPER_PRIVILEGED = 76, /* flag: sysfs and cgroup writable, devices of the VM visible */
	HYPER_SCRATCH = 77,    /* flag: no UPPER, but a writable root in memory */
	HYPER_OFFSET = 78,     /* u64 bytes, with LENGTH: only this part of the disk (LOWER, UPPER), multiples of 512 */
	HYPER_LENGTH = 79,     /* u64 bytes */
	HYPER_DIRECTORY = 80,  /* text, relative, one name: UPPER is this directory of the disk, not all of it */
	HYPER_DISCARD = 81,    /* flag, of CONTAINER_DESTROY: its UPPER's DIRECTORY is removed too */
	HYPER_COPY_UP = 82,    /* flag, of a bind MOUNT: what the root has at TARGET is copied into SOURCE where that is empty */
	HYPER_OWNER = 83,      /* text, of a FILE: user[:group], looked up in the root, in place of UID and GID */

	/* PROCESS_START and after */
	HYPER_ARG = 96,
	HYPER_ENV = 97,  /* "NAME=value"; the agent adds HOME from the image's passwd where it is missing */
	HYPER_CWD = 98,  /* made if it is missing, as Docker does for the init process */
	HYPER_USER = 99, /* text: "", "name", "uid", "name:group", "uid:gid", ... looked up in the container's root */
	HYPER_GROUP = 100, /* text: name or number of an additional group */
	HYPER_CAP_BOUNDING = 101, /* u64 masks */
	HYPER_CAP_EFFECTIVE = 102,
	HYPER_CAP_PERMITTED = 103,
	HYPER_CAP_INHERITABLE = 104,
	HYPER_CAP_AMBIENT = 105,
	HYPER_RLIMIT = 106, /* nested: RESOURCE, SOFT, HARD */
	HYPER_RESOURCE = 107, /* u32: RLIMIT_* */
	HYPER_SOFT = 108,     /* u64, ~0 for no limit */
	HYPER_HARD = 109,
	HYPER_NO_NEW_PRIVS = 110,
	HYPER_SECCOMP = 111, /* bytes: struct sock_filter[] */
	HYPER_TTY = 112,     /* flag */
	HYPER_ROWS = 113,
	HYPER_COLUMNS = 114,
	HYPER_WITH_STDIN = 115, /* flag: absent, stdin is /dev/null (a terminal without input with TTY) */
	HYPER_OOM_SCORE_ADJ = 116, /* u32, two's complement */
	HYPER_UMASK = 117,
	HYPER_SIGNAL = 118,
	HYPER_ALL = 119,
	HYPER_FROZEN = 120,
	HYPER_TOOLS = 122, /* text, of a PROCESS_START without CONTAINER, which runs in the VM: the container whose root the
	                    * program and its libraries are taken from */
	HYPER_REAPER = 121, /* flag, with INIT: a small reaping init of the agent's is PID 1, the program its child */

	/* answers */
	HYPER_TASK = 128,       /* nested: PID, PARENT, CONTAINER_PID, UID, START_NS, CPU_NS, RSS_BYTES, STATE, COMMAND, TERMINAL */
	HYPER_PARENT = 129,
	HYPER_CONTAINER_PID = 130,
	HYPER_START_NS = 131, /* u64 since boot */
	HYPER_CPU_NS = 132,
	HYPER_RSS_BYTES = 133,
	HYPER_STATE = 134,   /* text: one letter as in /proc/PID/stat */
	HYPER_COMMAND = 135, /* bytes: cmdline with NUL turned to space, or "[comm]"; at most 4096 */
	HYPER_TERMINAL = 136, /* text: "pts/0" or "?" */
	HYPER_STAT = 137,    /* nested: NAME, NUMBER.  cpu_ns memory_bytes memory_max_bytes memory_cache_bytes pids
	                      * net_rx_bytes net_tx_bytes net_rx_packets net_tx_packets block_read_bytes block_write_bytes */
	HYPER_NUMBER = 138,  /* u64 */
};

#endif
