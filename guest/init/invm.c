#include "invm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "archive.h"
#include "indisk.h"
#include "infile.h"
#include "place.h"
#include "root.h"
#include "system.h"

#define VM_POINT "/run/vm" /* where the VM's own root is */
#define CONNECT "hyper-connect"
#define CHUNK 65536

/* ---- where it runs ---- */

static int mount_terminals(struct failure *failure)
{
	if ((mkdir("/dev/pts", 0755) != 0 && errno != EEXIST) ||
	    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5") != 0)
		return fail(failure, errno, "/dev/pts: %s", reason(errno));
	return 0;
}

/* A copy of the root mount of that namespace, and of nothing that is mounted in it. */
static int take_root(int namespace, int home, struct failure *failure)
{
	int tree = setns(namespace, CLONE_NEWNS) == 0
	               ? sys_open_tree(AT_FDCWD, "/", HS_OPEN_TREE_CLONE | HS_OPEN_TREE_CLOEXEC)
	               : -1;
	int error = errno;
	if (setns(home, CLONE_NEWNS) != 0 || tree < 0)
		return fail(failure, tree < 0 ? error : errno, "the container's root: %s", reason(tree < 0 ? error : errno));
	return tree;
}

static int bind_from_vm(int root, const char *path, struct failure *failure)
{
	char from[64], to[FD_PATH_BYTES];
	int target = place_make_directory(root, path, failure);
	if (target < 0)
		return -1;
	(void)snprintf(from, sizeof from, VM_POINT "%s", path);
	fd_path(target, to);
	/* Where /proc is not there yet, a descriptor has no name: the directory itself, which is the caller's. */
	if (fchdir(target) != 0 || mount(from, ".", NULL, MS_BIND | MS_REC, NULL) != 0)
		return fail(failure, errno, "%s: %s", path, reason(errno));
	(void)close(target);
	return 0;
}

static int enter_root(int tree, struct failure *failure)
{
	static const char *const of_vm[] = {"/proc", "/sys", "/dev"};
	if (sys_move_mount(tree, "", AT_FDCWD, LOWER_POINT, HS_MOVE_MOUNT_F_EMPTY_PATH) != 0 ||
	    mount("tools", UPPER_POINT, "tmpfs", 0, "mode=0755") != 0 || mkdir(UPPER_POINT "/" UPPER_DIRECTORY, 0755) != 0 ||
	    mkdir(UPPER_POINT "/work", 0755) != 0 ||
	    mount("tools", ROOT_POINT, "overlay", 0,
	          "lowerdir=" LOWER_POINT ",upperdir=" UPPER_POINT "/" UPPER_DIRECTORY ",workdir=" UPPER_POINT "/work,volatile") != 0)
		return fail(failure, errno, "a root over the container's: %s", reason(errno));
	int root = open(ROOT_POINT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int old = root < 0 ? fail(failure, errno, "%s: %s", ROOT_POINT, reason(errno)) : place_make_directory(root, VM_POINT, failure);
	if (old < 0)
		return -1;
	(void)close(old);
	if (fchdir(root) != 0 || sys_pivot_root(".", "." VM_POINT) != 0)
		return fail(failure, errno, "cannot enter the container's root: %s", reason(errno));
	for (size_t i = 0; i < sizeof of_vm / sizeof *of_vm; i++) {
		if (bind_from_vm(root, of_vm[i], failure) != 0)
			return -1;
	}
	(void)close(root);
	return chdir("/") == 0 ? 0 : fail(failure, errno, "/: %s", reason(errno));
}

/* On LOWER_POINT, as it is. */
static int show_root(int tree, struct failure *failure)
{
	if (sys_move_mount(tree, "", AT_FDCWD, LOWER_POINT, HS_MOVE_MOUNT_F_EMPTY_PATH) != 0)
		return fail(failure, errno, "the container's root: %s", reason(errno));
	return 0;
}

int invm_enter(const struct launch *launch, struct failure *failure)
{
	int tools = launch->namespaces[0], tree = -1;
	bool terminal = find_flag(launch->fields, HYPER_TTY);
	if (tools < 0 && !terminal)
		return 0;
	struct span program = {NULL, 0};
	/* What works on the container's files sees what the container sees. */
	if (field_find(launch->fields, HYPER_ARG, &program) && infile_is(program))
		return setns(tools, CLONE_NEWNS) == 0 ? 0 : fail(failure, errno, "the container's files: %s", reason(errno));
	int home = tools < 0 ? -1 : open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (tools >= 0 && (tree = take_root(tools, home, failure)) < 0)
		return -1;
	close_fd(&tools);
	close_fd(&home);
	/* What comes to the VM comes here too, and what goes there does not stay here; nothing leads back. */
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) != 0)
		return fail(failure, errno, "a mount namespace: %s", reason(errno));
	if (terminal && mount_terminals(failure) != 0)
		return -1;
	if (tree >= 0 && span_is(program, ARCHIVE_EXPORT))
		return show_root(tree, failure);
	return tree < 0 ? 0 : enter_root(tree, failure);
}

/* ---- hyper-connect ---- */

__attribute__((noreturn)) static void give_up(const char *host, const char *port, const char *why)
{
	(void)dprintf(2, CONNECT ": %s port %s: %s\n", host, port, why);
	_exit(1);
}

static int try_connect(int family, const char *host, in_port_t port)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address;
	memset(&address, 0, sizeof address);
	address.any.sa_family = (sa_family_t)family;
	address.v4.sin_port = port; /* in both at the same place */
	void *where = family == AF_INET ? (void *)&address.v4.sin_addr : (void *)&address.v6.sin6_addr;
	errno = EINVAL;
	if (inet_pton(family, host, where) != 1)
		return -1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, &address.any, family == AF_INET ? sizeof address.v4 : sizeof address.v6) == 0)
		return fd;
	int error = errno;
	close_fd(&fd);
	errno = error;
	return -1;
}

static int connect_to(const char *host, const char *port)
{
	uint64_t number;
	if (!parse_u64(port, &number) || number < 1 || number > 65535)
		give_up(host, port, "is no port");
	in_port_t wanted = htons((in_port_t)number);
	bool local = strcmp(host, "localhost") == 0;
	int fd = try_connect(strchr(host, ':') ? AF_INET6 : AF_INET, local ? "127.0.0.1" : host, wanted);
	int error = errno;
	if (fd < 0 && local)
		fd = try_connect(AF_INET6, "::1", wanted);
	if (fd < 0)
		give_up(host, port, error == EINVAL ? "is no address" : reason(error));
	return fd;
}

/* One direction: what has been read and not written yet. */
struct flow {
	int from, to;
	size_t start, end;
	bool done; /* the end of the stream, or nobody takes more */
	char bytes[CHUNK];
};

static bool for_later(ssize_t done)
{
	return done < 0 && (errno == EAGAIN || errno == EINTR);
}

static void move(struct flow *flow)
{
	if (flow->done)
		return;
	if (flow->start == flow->end) {
		ssize_t got = read(flow->from, flow->bytes, sizeof flow->bytes);
		flow->start = 0;
		flow->end = got > 0 ? (size_t)got : 0;
		flow->done = got <= 0 && !for_later(got);
	}
	if (flow->start == flow->end)
		return;
	ssize_t put = write(flow->to, flow->bytes + flow->start, flow->end - flow->start);
	flow->start += put > 0 ? (size_t)put : 0;
	flow->done = put < 0 && !for_later(put);
}

static struct pollfd waits_for(const struct flow *flow)
{
	if (flow->done)
		return (struct pollfd){.fd = -1};
	if (flow->start < flow->end)
		return (struct pollfd){.fd = flow->to, .events = POLLOUT};
	return (struct pollfd){.fd = flow->from, .events = POLLIN};
}

/*
 * Neither direction waits for the other, and the end of one is passed on while the other goes on.  Where the peer is
 * gone altogether, nobody waits for the input's end.
 */
static void splice_all(int socket)
{
	static struct flow up, down;
	up.from = 0;
	down.to = 1;
	up.to = down.from = socket;
	for (int i = 0; i < 3; i++)
		(void)fcntl(i == 2 ? socket : i, F_SETFL, O_NONBLOCK);
	while (!up.done || !down.done) {
		bool up_before = up.done, down_before = down.done;
		struct pollfd watched[] = {waits_for(&up), waits_for(&down), {.fd = down.done ? socket : -1}};
		if (poll(watched, 3, -1) < 0)
			continue;
		if (down.done && (watched[2].revents & (POLLERR | POLLHUP)))
			return;
		move(&up);
		move(&down);
		if (up.done && !up_before)
			(void)shutdown(socket, SHUT_WR);
		if (down.done && !down_before)
			(void)close(1);
	}
}

bool invm_builtin(char *const *arguments)
{
	return strcmp(arguments[0], CONNECT) == 0 || strcmp(arguments[0], ARCHIVE_EXPORT) == 0 || infile_builtin(arguments[0]) ||
	       indisk_builtin(arguments[0]);
}

void invm_run(char *const *arguments)
{
	(void)sys_close_range(3, ~0u); /* the report too: it has begun */
	(void)prctl(PR_SET_NAME, arguments[0]);
	(void)signal(SIGPIPE, SIG_IGN);
	if (infile_builtin(arguments[0]))
		infile_run(arguments);
	if (indisk_builtin(arguments[0]))
		indisk_run(arguments);
	if (strcmp(arguments[0], ARCHIVE_EXPORT) == 0)
		archive_export(open(LOWER_POINT, O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (!arguments[1] || !arguments[2] || arguments[3]) {
		(void)dprintf(2, "usage: " CONNECT " HOST PORT\n");
		_exit(2);
	}
	int socket = connect_to(arguments[1], arguments[2]);
	(void)dprintf(2, "connected\n"); /* for those who only ask whether somebody accepts */
	splice_all(socket);
	_exit(0);
}
