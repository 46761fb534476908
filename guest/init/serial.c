#include "serial.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "loop.h"
#include "port.h"
#include "relay.h"
#include "system.h"
#include "util.h"

#define BUFFER (16 * 1024) /* an answer need not wait for more output than this */
#define AGAIN_MS 1000      /* one that ends at once is not begun again at once */

static char device[256];
static int ours = -1, its = -1; /* the ends of the socket: a process that ends takes nothing with it */
static pid_t process = -1;
static int64_t begun_ns;
static bool over;

/* A 16550 interrupts for 14 bytes that have come, not for 8, where the driver can be told so. */
static void await_more(void)
{
	char path[sizeof device + 32];
	const char *name = strrchr(device, '/');
	(void)snprintf(path, sizeof path, "/sys/class/tty/%s/rx_trig_bytes", name ? name + 1 : device);
	(void)write_text_at(AT_FDCWD, path, "14");
}

__attribute__((noreturn)) static void serve(void)
{
	child_begin(&its, 1);
	(void)prctl(PR_SET_NAME, "hyper-line");
	(void)write_text_at(AT_FDCWD, "/proc/self/oom_score_adj", "-1000"); /* as little as PID 1 */
	int fd = port_open(device);
	await_more();
	if (fd < 0)
		log_line("%s: %s", device, reason(errno));
	_exit(fd >= 0 && relay_run(fd, its) == 0 ? 0 : 1);
}

static int begin(void)
{
	begun_ns = clock_ns(CLOCK_MONOTONIC);
	process = child_fork(0, -1);
	if (process == 0)
		serve();
	return process < 0 ? -1 : 0;
}

static void begin_later(struct deadline *deadline)
{
	if (!over && begin() != 0)
		loop_arm(deadline, AGAIN_MS);
}

static struct deadline later = {.expired = begin_later};

int serial_start(const char *path)
{
	int pair[2];
	if (snprintf(device, sizeof device, "%s", path) >= (int)sizeof device) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
		return -1;
	(void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){BUFFER}, sizeof(int));
	ours = pair[0];
	its = pair[1];
	return begin() == 0 ? ours : -1;
}

bool serial_reaped(pid_t pid)
{
	if (pid != process)
		return false;
	process = -1;
	if (clock_ns(CLOCK_MONOTONIC) - begun_ns < AGAIN_MS * INT64_C(1000000))
		loop_arm(&later, AGAIN_MS);
	else
		begin_later(&later);
	return true;
}

void serial_drain(int milliseconds)
{
	struct pollfd ended = {.fd = process > 0 ? (int)syscall(SYS_pidfd_open, process, 0) : -1, .events = POLLIN};
	over = true;
	if (ended.fd < 0)
		return;
	(void)shutdown(ours, SHUT_WR);
	(void)poll(&ended, 1, milliseconds);
	close_fd(&ended.fd);
}
