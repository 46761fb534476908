/*
 * Serves one directory to a guest by virtio-fs, so that several guests may write to it at once.
 *
 *     sharefs SOCKET_FD [squash]
 *
 *     SOCKET_FD   a connected socket on which the VM's process speaks vhost-user; its end is that of this process
 *     squash      all files are one user's, which is root here and in the guest
 *
 * The directory is /share, and /proc/self/fd is there; share_jail.py makes that root.  What differs from virtiofsd:
 *
 * - Nothing is remembered by the guest: names and attributes are asked for each time, data goes past the guest's page
 *   cache (FOPEN_DIRECT_IO), so what one guest has written the next one reads.  A shared mapping is one guest's own.
 * - Locks of both kinds are the host's (F_OFD_SETLK, flock), so they hold between guests and against the host's own
 *   programs.  Whoever waits for one does so in a thread, which FUSE_INTERRUPT ends; nobody else waits with them.
 * - Appending is done at the end that the file has here (RWF_APPEND), not where a guest believes it to be.
 * - Set-user-id and set-group-id bits are files' own, as on a disk; devices are refused.
 *
 * The guest is hostile, and so is the VM's process: each number is checked; what is read twice is copied first.  Memory
 * that is taken away from below ends this process.
 *
 * Sources: linux/fuse.h, virtio 1.2 (2.7, 5.11), QEMU's docs/interop/vhost-user.rst, fcntl(2), flock(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sharefs.h"

enum {
	GET_FEATURES = 1, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE,
	SET_VRING_NUM = 8, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR,
	GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE,
};
enum { VERSION = 1, REPLY = 1 << 2, NEEDS_REPLY = 1 << 3 };
enum { REGIONS_MAX = 8, TABLES_MAX = 256, WITHOUT_FD = 0x100 };

/* VIRTIO_F_VERSION_1, VHOST_USER_F_PROTOCOL_FEATURES, VIRTIO_RING_F_INDIRECT_DESC */
static const uint64_t features = 1ULL << 32 | 1ULL << 30 | 1ULL << 28;
/* VHOST_USER_PROTOCOL_F_MQ, _REPLY_ACK */
static const uint64_t protocol_features = 1ULL << 0 | 1ULL << 3;

struct message {
	uint32_t request, flags, size;
	union {
		uint64_t number;
		struct { uint32_t index, number; } state;
		struct { uint32_t index, flags; uint64_t descriptors, used, available, log; } addresses;
		struct {
			uint32_t count, padding;
			struct { uint64_t guest, size, user, offset; } regions[REGIONS_MAX];
		} memory;
	} is;
} __attribute__((packed));
enum { HEADER = offsetof(struct message, is) };

bool squash;
int share_fd;

_Noreturn void fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	_exit(1);
}

/* With its descriptors; false where the VM has ended. */
static bool receive(int from, struct message *message, int fds[REGIONS_MAX], unsigned *count)
{
	char control[CMSG_SPACE(REGIONS_MAX * sizeof(int))];
	struct iovec piece = { message, HEADER };
	struct msghdr how = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	ssize_t got = recvmsg(from, &how, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	*count = 0;
	if (got <= 0)
		return false;
	const struct cmsghdr *sent = CMSG_FIRSTHDR(&how);
	if (sent != NULL && sent->cmsg_level == SOL_SOCKET && sent->cmsg_type == SCM_RIGHTS) {
		*count = (unsigned)((sent->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(sent), *count * sizeof(int));
	}
	if (got != HEADER || message->size > sizeof message->is)
		fail("the VM sends no vhost-user");
	return message->size == 0 || recv(from, &message->is, message->size, MSG_WAITALL) == (ssize_t)message->size;
}

static void reply(int to, struct message *message, uint32_t size)
{
	message->flags = VERSION | REPLY;
	message->size = size;
	if (send(to, message, HEADER + size, MSG_NOSIGNAL) != (ssize_t)(HEADER + size))
		_exit(0);
}

static void set_memory(const struct message *message, const int *fds, unsigned count)
{
	static unsigned tables;
	if (message->is.memory.count > REGIONS_MAX || message->is.memory.count != count || tables++ == TABLES_MAX)
		fail("the VM's memory: %u parts, %u descriptors", message->is.memory.count, count);
	memory_clear();
	for (unsigned i = 0; i < count; i++)
		memory_add(message->is.memory.regions[i].guest, message->is.memory.regions[i].size,
			message->is.memory.regions[i].user, fds[i], message->is.memory.regions[i].offset);
	memory_done();
}

/* What concerns one ring; whether it keeps the descriptor. */
static bool set_ring(int to, struct message *message, int fd)
{
	unsigned index = message->request == SET_VRING_KICK || message->request == SET_VRING_CALL
		? (unsigned)(message->is.number & 0xff) : message->is.state.index;
	if (index >= QUEUES)
		fail("there is no ring %u", index);
	switch (message->request) {
	case SET_VRING_NUM: ring_set_size(index, message->is.state.number); break;
	case SET_VRING_BASE: ring_set_base(index, message->is.state.number); break;
	case SET_VRING_ADDR:
		ring_set_addresses(index, message->is.addresses.descriptors, message->is.addresses.available,
			message->is.addresses.used);
		break;
	case SET_VRING_KICK: ring_set_kick(index, fd); return true;
	case SET_VRING_CALL: ring_set_call(index, fd); return true;
	case SET_VRING_ENABLE: ring_enable(index, message->is.state.number == 1); break;
	case GET_VRING_BASE:
		message->is.state.number = ring_stop(index);
		reply(to, message, sizeof message->is.state);
		break;
	}
	return false;
}

/* Whether it has answered. */
static bool obey(int to, struct message *message, const int *fds, unsigned count, bool *kept)
{
	switch (message->request) {
	case GET_FEATURES: message->is.number = features; break;
	case GET_PROTOCOL_FEATURES: message->is.number = protocol_features; break;
	case GET_QUEUE_NUM: message->is.number = QUEUES; break;
	case SET_MEM_TABLE: set_memory(message, fds, count); return false;
	case SET_VRING_NUM: case SET_VRING_ADDR: case SET_VRING_BASE: case GET_VRING_BASE: case SET_VRING_ENABLE:
	case SET_VRING_KICK: case SET_VRING_CALL:
		*kept = set_ring(to, message, count == 1 ? fds[0] : -1) && count == 1;
		return message->request == GET_VRING_BASE;
	case SET_FEATURES: case SET_OWNER: case RESET_OWNER: case SET_PROTOCOL_FEATURES: case SET_VRING_ERR:
		return false;
	default: fail("request %u of vhost-user is not known", message->request);
	}
	reply(to, message, sizeof message->is.number);
	return true;
}

static void hear(int from)
{
	struct message message;
	int fds[REGIONS_MAX];
	unsigned count;
	bool kept = false;
	memset(&message, 0, sizeof message);
	if (!receive(from, &message, fds, &count))
		_exit(0);
	bool needs = message.flags & NEEDS_REPLY;
	bool answered = obey(from, &message, fds, count, &kept);
	for (unsigned i = 0; i < count && !kept; i++)
		close(fds[i]);
	if (needs && !answered) {
		message.is.number = 0;
		reply(from, &message, sizeof message.is.number);
	}
}

int main(int argc, char **argv)
{
	if (argc < 2 || argc > 3 || (argc == 3 && strcmp(argv[2], "squash") != 0))
		fail("sharefs SOCKET_FD [squash]");
	int from = atoi(argv[1]);
	squash = argc == 3;
	struct rlimit open_files;
	if (getrlimit(RLIMIT_NOFILE, &open_files) == 0) {
		open_files.rlim_cur = open_files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &open_files);
	}
	umask(0);
	signal(SIGPIPE, SIG_IGN);
	share_fd = open("/share", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (share_fd < 0)
		fail("/share: %s", strerror(errno));
	inodes_begin();
	waiting_begin();
	for (;;) {
		struct pollfd on[1 + QUEUES] = { { .fd = from, .events = POLLIN } };
		for (unsigned i = 0; i < QUEUES; i++)
			on[1 + i] = (struct pollfd){ .fd = ring_kick(i), .events = POLLIN };
		if (poll(on, 1 + QUEUES, -1) < 0 && errno != EINTR)
			fail("poll: %s", strerror(errno));
		for (unsigned i = 0; i < QUEUES; i++)
			if (on[1 + i].revents)
				ring_serve(i, serve);
		if (on[0].revents)
			hear(from);
	}
}
