/*
 * Keeps a network namespace, and makes in it what a process outside of it then has.
 *
 *     netns CONTROL_FD NAME [user]
 *
 *     CONTROL_FD    a listening SOCK_SEQPACKET socket.  A message is a request, and has a message as its answer, "ok" or
 *                   "error WORDS"; a descriptor goes along with either (SCM_RIGHTS).
 *                       ready                          ok: the namespace is there, its loopback interface is up
 *                       socket DOMAIN TYPE PROTOCOL    ok, with a socket of the namespace: three numbers of socket(2)
 *                       tap NAME                       ok, with a new tap device, whose frames have a virtio_net_hdr
 *                                                      before them.  It is kept too, by its name, and goes when it is
 *                                                      dropped and nobody else holds it any more: that takes a
 *                                                      grace period of the kernel, which is nobody's then whose VM ends
 *                       sysctl NAME VALUE              a file below /proc/sys/net: "ipv4/ip_forward 1"
 *                       keep NAME, with a descriptor   holds it, in place of one of this name
 *                       take NAME                      ok, with the descriptor that is kept
 *                       drop NAME
 *                       part NAME                      as drop, and nobody here has it any more when that is answered:
 *                                                      of a tap device that lasts, and has one opener
 *                       end                            ok, and then it ends
 *     NAME          whose it is, for who looks at the processes there are
 *     user          in a user namespace, as who is not root must; the user is root there
 *
 * It ends by `end` and by signals alone: what is in the namespace outlives who asks.  A request has its words and no
 * others, of at least one byte, with one space between.  A client that breaks the rules is dropped; of clients there are
 * at most CLIENTS, of kept descriptors KEPT, or fewer where the limit of open files is lower.
 *
 * Exit status 1: it could not begin; a line on standard error says why.
 *
 * Sources: network_namespaces(7), user_namespaces(7), unix(7), tun's if_tun.h and networking/tuntap of the kernel's documents.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CLIENTS = 16, KEPT = 16384, MESSAGE_BYTES = 512, NAME_BYTES = 64, WORDS = 5, TUN_HEADER = 10 };
enum { OWN_FDS = 3 + 1 + CLIENTS + 12 }; /* and of a request one that came and one that goes; some to spare */

struct kept {
	char name[NAME_BYTES];
	int fd;
};

static struct kept *kept;
static size_t kept_count, kept_most;

static void fail(const char *what)
{
	fprintf(stderr, "netns: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fail(path);
	close(fd);
}

static void enter(int user)
{
	char map[32];
	uid_t uid = geteuid();
	gid_t gid = getegid();
	if (unshare(CLONE_NEWNET | (user ? CLONE_NEWUSER : 0)) != 0)
		fail("unshare");
	if (user) {
		write_file("/proc/self/setgroups", "deny");
		snprintf(map, sizeof map, "0 %u 1", gid);
		write_file("/proc/self/gid_map", map);
		snprintf(map, sizeof map, "0 %u 1", uid);
		write_file("/proc/self/uid_map", map);
	}
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &loopback) != 0)
		fail("loopback interface");
	close(fd);
}

/* As many descriptors as there may be; without one of its own it could answer nobody any more. */
static void make_room(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		fail("limit of open files");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		fail("limit of open files");
	kept_most = limit.rlim_cur >= KEPT + OWN_FDS ? KEPT : limit.rlim_cur > OWN_FDS ? (size_t)limit.rlim_cur - OWN_FDS : 0;
	kept = calloc(KEPT, sizeof *kept);
	if (kept == NULL)
		fail("memory");
}

/* ---- what is asked ---- */

static int number(const char *text, int *value)
{
	char *end;
	long got = strtol(text, &end, 10);
	if (*text == '\0' || *end != '\0' || got < 0 || got > 1 << 24)
		return -1;
	*value = (int)got;
	return 0;
}

static int make_socket(char **words)
{
	int domain, type, protocol;
	if (number(words[1], &domain) != 0 || number(words[2], &type) != 0 || number(words[3], &protocol) != 0) {
		errno = EINVAL;
		return -1;
	}
	return socket(domain, type | SOCK_CLOEXEC, protocol);
}

static int make_tap(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int header = TUN_HEADER;
	if (strlen(name) >= sizeof request.ifr_name) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(request.ifr_name, name);
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (ioctl(fd, TUNSETIFF, &request) == 0 && ioctl(fd, TUNSETVNETHDRSZ, &header) == 0 &&
	    ioctl(fd, TUNSETOFFLOAD, (unsigned long)(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

static int set(const char *name, const char *value)
{
	char path[MESSAGE_BYTES + 16];
	if (*name == '/' || strstr(name, "..") != NULL) {
		errno = EINVAL;
		return -1;
	}
	snprintf(path, sizeof path, "/proc/sys/net/%s", name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t put = write(fd, value, strlen(value));
	int error = errno;
	close(fd);
	errno = error;
	return put < 0 ? -1 : 0;
}

static struct kept *find(const char *name)
{
	for (size_t i = 0; i < kept_count; i++) {
		if (strcmp(kept[i].name, name) == 0)
			return &kept[i];
	}
	return NULL;
}

static int take(const char *name)
{
	struct kept *found = find(name);
	if (found == NULL)
		errno = ENOENT;
	return found == NULL ? -1 : fcntl(found->fd, F_DUPFD_CLOEXEC, 0);
}

/* Closes what it reads the numbers of: of a tap device that lasts, and nobody is to wait for it. */
static int to_close[2];
static pthread_mutex_t closing_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t none_closing = PTHREAD_COND_INITIALIZER;
static unsigned closing;

static void begins_closing(void)
{
	pthread_mutex_lock(&closing_lock);
	closing++;
	pthread_mutex_unlock(&closing_lock);
}

static void ends_closing(void)
{
	pthread_mutex_lock(&closing_lock);
	if (--closing == 0)
		pthread_cond_signal(&none_closing);
	pthread_mutex_unlock(&closing_lock);
}

/* Whether anything was still to be closed. */
static int wait_for_closing(void)
{
	pthread_mutex_lock(&closing_lock);
	int any = closing > 0;
	while (closing > 0)
		pthread_cond_wait(&none_closing, &closing_lock);
	pthread_mutex_unlock(&closing_lock);
	return any;
}

static void *close_all(void *nothing)
{
	int fd;
	while (read(to_close[0], &fd, sizeof fd) == sizeof fd) {
		close(fd);
		ends_closing();
	}
	return nothing;
}

static void start_closing(void)
{
	pthread_t thread;
	int error = pipe2(to_close, O_CLOEXEC) != 0 ? errno : pthread_create(&thread, NULL, close_all, NULL);
	errno = error;
	if (error != 0)
		fail("a thread");
}

/* A socket's port is free when this returns. */
static void close_aside(int fd)
{
	struct stat what;
	if (fstat(fd, &what) == 0 && S_ISSOCK(what.st_mode)) {
		close(fd);
		return;
	}
	begins_closing();
	if (write(to_close[1], &fd, sizeof fd) != sizeof fd) {
		close(fd);
		ends_closing();
	}
}

static int let_go(const char *name, void (*close_one)(int))
{
	struct kept *found = find(name);
	if (found == NULL) {
		errno = ENOENT;
		return -1;
	}
	close_one(found->fd);
	*found = kept[--kept_count];
	return 0;
}

static void close_now(int fd)
{
	close(fd);
}

/* The descriptor is this one's from now on, and no more `given`. */
static int keep(const char *name, int *given)
{
	if (*given < 0 || strlen(name) >= NAME_BYTES) {
		errno = EINVAL;
		return -1;
	}
	if (find(name) != NULL)
		(void)let_go(name, close_aside);
	if (kept_count == kept_most) {
		errno = ENOSPC;
		return -1;
	}
	strcpy(kept[kept_count].name, name);
	kept[kept_count++].fd = *given;
	*given = -1;
	return 0;
}

static int make_kept_tap(const char *name)
{
	int fd = make_tap(name);
	/* One of this name that was dropped goes aside: the next of a VM that starts again may be asked for before. */
	if (fd < 0 && errno == EBUSY && wait_for_closing())
		fd = make_tap(name);
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0 && copy >= 0 && keep(name, &copy) == 0)
		return fd;
	int error = errno;
	if (copy >= 0)
		close(copy);
	if (fd >= 0)
		close(fd);
	errno = error;
	return -1;
}

/* How many words a request has: 0 of one that is unknown. */
static int words_of(const char *request)
{
	static const struct {
		const char *name;
		int words;
	} requests[] = {{"ready", 1}, {"end", 1}, {"tap", 2}, {"keep", 2}, {"take", 2}, {"drop", 2}, {"part", 2}, {"sysctl", 3}, {"socket", 4}};
	for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
		if (strcmp(requests[i].name, request) == 0)
			return requests[i].words;
	}
	return 0;
}

/* -1: refused, by errno; else done, and `made` is a descriptor that goes with the answer, if it is one. */
static int obey(char *text, int *given, int *made)
{
	char *words[WORDS] = {"", "", "", "", ""}, *rest = text;
	int count = 0, whole = 1;
	for (; count < WORDS && rest != NULL; count++) {
		words[count] = strsep(&rest, " ");
		whole = whole && *words[count] != '\0';
	}
	if (words_of(words[0]) == 0) {
		errno = ENOSYS;
		return -1;
	}
	if (count != words_of(words[0]) || !whole) {
		errno = EINVAL;
		return -1;
	}
	if (strcmp(words[0], "ready") == 0 || strcmp(words[0], "end") == 0)
		return 0;
	if (strcmp(words[0], "sysctl") == 0)
		return set(words[1], words[2]);
	if (strcmp(words[0], "keep") == 0)
		return keep(words[1], given);
	if (strcmp(words[0], "drop") == 0)
		return let_go(words[1], close_aside);
	if (strcmp(words[0], "part") == 0)
		return let_go(words[1], close_now);
	if (strcmp(words[0], "socket") == 0)
		*made = make_socket(words);
	else if (strcmp(words[0], "tap") == 0)
		*made = make_kept_tap(words[1]);
	else
		*made = take(words[1]);
	return *made < 0 ? -1 : 0;
}

/* ---- who asks ---- */

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static int receive(int client, char *text, int *given)
{
	union control control;
	struct iovec data = {text, MESSAGE_BYTES - 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control};
	message.msg_controllen = CMSG_LEN(sizeof *given); /* without the padding, in which there is room for another */
	ssize_t got = recvmsg(client, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	struct cmsghdr *first = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
	if (first != NULL && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS)
		memcpy(given, CMSG_DATA(first), sizeof *given);
	if (got <= 0 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
		return -1;
	text[got] = '\0';
	return 0;
}

static int answer(int client, const char *text, int made)
{
	union control control = {0};
	struct iovec data = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
	if (made >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
		control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof made), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), &made, sizeof made);
	}
	return sendmsg(client, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int serve(int client)
{
	char text[MESSAGE_BYTES], words[MESSAGE_BYTES];
	int given = -1, made = -1, result = receive(client, text, &given);
	if (result == 0) {
		int ends = strcmp(text, "end") == 0;
		if (obey(text, &given, &made) == 0)
			snprintf(words, sizeof words, "ok");
		else
			snprintf(words, sizeof words, "error %d %s", errno, strerror(errno));
		result = answer(client, words, made);
		if (ends)
			exit(0);
	}
	if (made >= 0)
		close(made);
	if (given >= 0)
		close(given);
	return result;
}

int main(int count, char **arguments)
{
	int control, users = 0;
	if (count < 3 || count > 4 || number(arguments[1], &control) != 0 || (count == 4 && strcmp(arguments[3], "user") != 0)) {
		fprintf(stderr, "usage: netns CONTROL_FD NAME [user]\n");
		return 1;
	}
	make_room();
	signal(SIGPIPE, SIG_IGN);
	enter(count == 4);
	start_closing();
	struct pollfd polls[1 + CLIENTS] = {{.fd = control, .events = POLLIN}};
	for (;;) {
		polls[0].events = users < CLIENTS ? POLLIN : 0;
		if (poll(polls, (nfds_t)(1 + users), -1) < 0 && errno != EINTR)
			fail("poll");
		for (int i = users; i > 0; i--) {
			if (polls[i].revents != 0 && serve(polls[i].fd) != 0) {
				close(polls[i].fd);
				polls[i] = polls[users--];
			}
		}
		int client = (polls[0].revents & POLLIN) != 0 ? accept4(control, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (client >= 0)
			polls[++users] = (struct pollfd){.fd = client, .events = POLLIN};
	}
}
