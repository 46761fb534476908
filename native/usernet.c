/*
 * A guest's network: what lies behind its network card, as a user's process, by libslirp.
 *
 *     usernet FRAMES_FD CONTROL_FD network=10.0.2.0/24 gateway=10.0.2.2 dns=10.0.2.3 guest=10.0.2.15
 *         [restrict] [tap] [hostname=NAME] [mtu=N] [offers=FILE] [forward=tcp:127.0.0.1:8080:10.0.2.15:80]...
 *
 *     FRAMES_FD     the guest's card: a SOCK_SEQPACKET or SOCK_DGRAM socket, an Ethernet frame a message, each way.  Its
 *                   end is that of this process, with status 0; a SOCK_DGRAM socket only tells it who sends.  With `tap` a
 *                   tap device, whose frames have a virtio_net_hdr before them (netns.c); its end is that of the device.
 *     CONTROL_FD    a listening SOCK_SEQPACKET socket.  A message is a request, and has a message as its answer:
 *                       add tcp 127.0.0.1 8080 10.0.2.15 80       ok
 *                       remove tcp 127.0.0.1 8080                 error WORDS
 *                       ready                                     ok: it has begun, with all its forwards
 *                       forward 0                                 ok tcp 127.0.0.1 8080 10.0.2.15 80: the first there is, in
 *                                                                 no order that lasts beyond the next add or remove
 *     network ...   the guest's network, and who is in it: the guest, the gateway, and who answers for the host's name server
 *     restrict      the guest speaks only to who came by a forward
 *     hostname      what DHCP calls the guest
 *     offers        TCP ports of the host's loopback address that the gateway has too: a line each, read when one is asked for
 *     mtu           the most bytes of an IP packet, 68 to 65521; 1500
 *     forward       a port of the host that leads to the guest's: tcp or udp, the host's address and port, the guest's; for
 *                   its address, 0.0.0.0 does as well
 *
 * The guest reaches what the host reaches, but not the host's loopback, unless a port of it is offered: usernet_gate.h.  A frame that the socket has no
 * room for is lost, and nothing more is read of the host's sockets until there is room again.  All there is of anything is
 * bounded: sockets by the limit of open files, and at most SOCKETS.  Once it has begun, it runs no program and maps no code.
 *
 * Exit status 1: it could not begin; a line on standard error says why.
 *
 * Sources: slirp/libslirp.h, unix(7), poll(2), seccomp(2).
 */
#include <errno.h>
#include <glib.h>
#include <libslirp.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "usernet.h"

void fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static void check(long result, const char *what)
{
	if (result < 0)
		fail("%s: %s", what, strerror(errno));
}

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t now_ms(void)
{
	return now_ns() / 1000000;
}

/* ---- frames ---- */

/* Nobody is at the other end any more. */
static int at_end(int code)
{
	return code == ECONNREFUSED || code == ECONNRESET || code == EPIPE || code == ENOTCONN || code == EBADFD;
}

static ssize_t write_frame(const struct usernet *self, const void *frame, size_t bytes)
{
	static struct virtio_net_hdr header; /* a frame is whole, and has its checksums */
	struct iovec parts[] = {{&header, sizeof header}, {(void *)(uintptr_t)frame, bytes}};
	return self->tap ? writev(self->frames, parts, 2) : send(self->frames, frame, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

_Static_assert(sizeof(struct virtio_net_hdr) == 10, "as netns.c makes tap devices");

/* Of the sum that the kernel has left to the device; whether it is there now. */
static int finish_sum(uint8_t *frame, size_t bytes, const struct virtio_net_hdr *header)
{
	size_t start = header->csum_start, at = start + header->csum_offset;
	if (!(header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return 1;
	if (start > bytes || at + 2 > bytes)
		return 0;
	uint64_t sum = 0;
	uint16_t word = 0;
	for (; start + 2 <= bytes; start += 2) {
		memcpy(&word, frame + start, 2); /* in whichever order: the sum comes out in the same (RFC 1071, 2.B) */
		sum += word;
	}
	if (start < bytes) {
		word = 0;
		memcpy(&word, frame + start, 1);
		sum += word;
	}
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	word = (uint16_t)~sum;
	if (word == 0)
		word = 0xffff; /* of UDP 0 is none at all, and of TCP it is the same */
	memcpy(frame + at, &word, 2);
	return 1;
}

/* A tap's may be a TCP segment of up to 64 KiB, which libslirp takes whole.  One of no use is empty. */
static ssize_t read_frame(struct usernet *self)
{
	struct virtio_net_hdr header;
	struct iovec parts[] = {{&header, sizeof header}, {self->frame, sizeof self->frame}};
	if (!self->tap)
		return recv(self->frames, self->frame, MAX_FRAME, MSG_DONTWAIT | MSG_TRUNC);
	ssize_t got = readv(self->frames, parts, 2), bytes = got - (ssize_t)sizeof header;
	if (got < 0)
		return got;
	return bytes > 0 && finish_sum(self->frame, (size_t)bytes, &header) ? bytes : 0;
}

static ssize_t send_frame(const void *frame, size_t bytes, void *opaque)
{
	struct usernet *self = opaque;
	const void *instead = gate_out(&self->gate, frame, bytes);
	if (write_frame(self, instead != NULL ? instead : frame, bytes) < 0) {
		if (at_end(errno))
			exit(0);
		if (errno == EAGAIN || errno == ENOBUFS)
			self->full = 1;
	}
	return (ssize_t)bytes; /* what is lost is lost, as on a wire */
}

static void receive_frames(struct usernet *self)
{
	for (int i = 0; i < BATCH; i++) {
		ssize_t got = read_frame(self);
		if (got < 0 && errno == EAGAIN)
			return;
		if (got < 0 && at_end(errno))
			exit(0);
		if (got <= 0) {
			if (self->polls[FRAMES].revents & (POLLHUP | POLLERR))
				exit(0);
			continue;
		}
		if (got > MAX_FRAME)
			continue;
		size_t bytes = (size_t)got;
		const uint8_t *frame = gate_in(&self->gate, self->frame, &bytes);
		if (frame != NULL)
			slirp_input(self->slirp, frame, (int)bytes);
	}
}

/* ---- libslirp's calls ---- */

static void guest_error(const char *message, void *opaque)
{
	(void)message;
	(void)opaque;
}

static int64_t clock_get_ns(void *opaque)
{
	(void)opaque;
	return now_ns();
}

/* There is one timer, of IPv6, which is off. */
static void *timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct usernet *self = opaque;
	(void)id;
	(void)cb_opaque;
	return &self->timer_ms;
}

static void timer_free(void *timer, void *opaque)
{
	(void)opaque;
	*(int64_t *)timer = -1;
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	(void)opaque;
	*(int64_t *)timer = expire_ms;
}

static void run_timer(struct usernet *self)
{
	if (self->timer_ms >= 0 && self->timer_ms <= now_ms()) {
		self->timer_ms = -1;
		slirp_handle_timer(self->slirp, SLIRP_TIMER_RA, NULL);
	}
}

static void ignore_fd(int fd, void *opaque)
{
	(void)fd;
	(void)opaque;
}

static void ignore(void *opaque)
{
	(void)opaque;
}

static void init_completed(Slirp *slirp, void *opaque)
{
	struct usernet *self = opaque;
	self->slirp = slirp;
}

static int add_poll(int fd, int events, void *opaque)
{
	struct usernet *self = opaque;
	if (self->sockets == SOCKETS || (self->closed && listens(fd)))
		return -1;
	short wanted = (short)((events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
		(events & SLIRP_POLL_PRI ? POLLPRI : 0) | (events & SLIRP_POLL_ERR ? POLLERR : 0) |
		(events & SLIRP_POLL_HUP ? POLLHUP : 0));
	self->polls[FIRST_SOCKET + self->sockets] = (struct pollfd){.fd = fd, .events = wanted};
	return (int)self->sockets++;
}

static int get_revents(int index, void *opaque)
{
	struct usernet *self = opaque;
	short found = self->polls[FIRST_SOCKET + index].revents;
	return (found & POLLIN ? SLIRP_POLL_IN : 0) | (found & POLLOUT ? SLIRP_POLL_OUT : 0) |
		(found & POLLPRI ? SLIRP_POLL_PRI : 0) | (found & POLLERR ? SLIRP_POLL_ERR : 0) |
		(found & POLLHUP ? SLIRP_POLL_HUP : 0);
}

/* ---- the loop ---- */

/* libslirp would accept, and be told of, what there is no descriptor for, again and again. */
static void count_sockets(struct usernet *self)
{
	self->gate.crowded = self->closed = 0;
	if ((long)self->sockets > self->socket_limit / 2) {
		int next = next_descriptor(self);
		self->gate.crowded = next < 0 || next + FOR_HOST > self->socket_limit;
		self->closed = next < 0 || next + FOR_CONTROL > self->socket_limit;
	}
}

/* How long to wait, in ms, or -1.  libslirp wants to be called twice a second even where it has nothing but forwards. */
static int prepare(struct usernet *self)
{
	uint32_t timeout = UINT32_MAX;
	int64_t now = now_ms();
	count_sockets(self);
	self->sockets = 0;
	if (self->full)
		timeout = FULL_MS;
	else
		slirp_pollfds_fill(self->slirp, &timeout, add_poll, self);
	self->polls[FRAMES] = (struct pollfd){.fd = self->frames, .events = (short)(POLLIN | (self->full ? POLLOUT : 0))};
	self->polls[CONTROL] = (struct pollfd){.fd = self->control, .events = POLLIN};
	for (size_t i = 0; i < ASKERS; i++)
		self->polls[FIRST_ASKER + i] = (struct pollfd){.fd = self->askers[i].fd, .events = POLLIN};
	if (!self->full && self->sockets == self->forwards && now - self->busy_ms > STILL_MS)
		timeout = UINT32_MAX;
	if (self->timer_ms >= 0 && self->timer_ms - now < timeout)
		timeout = self->timer_ms > now ? (uint32_t)(self->timer_ms - now) : 0;
	return timeout > INT_MAX ? -1 : (int)timeout;
}

static void turn(struct usernet *self)
{
	int timeout = prepare(self), full = self->full;
	int ready = poll(self->polls, FIRST_SOCKET + self->sockets, timeout);
	if (ready < 0 && errno != EINTR)
		fail("poll: %s", strerror(errno));
	if (ready > 0)
		self->busy_ms = now_ms();
	if (full && ready > 0 && self->polls[FRAMES].revents & POLLOUT)
		self->full = 0;
	slirp_pollfds_poll(self->slirp, ready < 0 || full, get_revents, self); /* by it libslirp knows what time it is */
	run_timer(self);
	if (ready <= 0)
		return;
	if (self->polls[FRAMES].revents) {
		receive_frames(self);
		slirp_pollfds_poll(self->slirp, 1, get_revents, self); /* sends what waited for the guest's address */
	}
	serve_askers(self);
}

/* ---- the beginning ---- */

static void limit_sockets(struct usernet *self)
{
	struct rlimit limit;
	check(getrlimit(RLIMIT_NOFILE, &limit), "open files");
	limit.rlim_cur = limit.rlim_max < SOCKETS ? limit.rlim_max : SOCKETS;
	check(setrlimit(RLIMIT_NOFILE, &limit), "open files");
	self->socket_limit = (long)limit.rlim_cur;
	if (self->socket_limit < 4 * FOR_HOST)
		fail("%ld open files are too few, at least %d", self->socket_limit, 4 * FOR_HOST);
}

/* What a library loads it has loaded by now. */
static void close_in(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execveat, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no-new-privs");
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), "seccomp");
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data)
{
	(void)domain; /* a guest may have it say as much as it likes */
	(void)level;
	(void)message;
	(void)data;
}

static void begin(struct usernet *self)
{
	static const SlirpCb CALLS = {
		.send_packet = send_frame, .guest_error = guest_error, .clock_get_ns = clock_get_ns,
		.timer_new_opaque = timer_new, .timer_free = timer_free, .timer_mod = timer_mod,
		.register_poll_fd = ignore_fd, .unregister_poll_fd = ignore_fd, .notify = ignore,
		.init_completed = init_completed,
	};
	int buffer = SEND_BUFFER;
	char problem[REQUEST_BYTES];
	check(signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -1 : 0, "signals");
	g_log_set_default_handler(silent, NULL);
	limit_sockets(self);
	if (self->tap)
		check(ioctl(self->frames, TUNSETOFFLOAD, (unsigned long)(TUN_F_CSUM | TUN_F_TSO4)), "the tap device");
	else
		setsockopt(self->frames, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer); /* as much as one may have */
	self->config.version = 4;
	self->config.in_enabled = true;
	if (slirp_new(&self->config, &CALLS, self) == NULL)
		fail("libslirp does not take these options");
	for (size_t i = 0; i < self->wanted_count; i++)
		if (!add_forward(self, &self->wanted[i], problem, sizeof problem))
			fail("%s", problem);
	close_in();
	self->busy_ms = now_ms();
}

int main(int argc, char **argv)
{
	static struct usernet self;
	(void)argc;
	self.timer_ms = -1;
	for (size_t i = 0; i < ASKERS; i++)
		self.askers[i].fd = -1;
	read_options(&self, argv + 1);
	begin(&self);
	for (;;)
		turn(&self);
}
