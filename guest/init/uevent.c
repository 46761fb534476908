#include "uevent.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

int uevent_open(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
		close_fd(&fd);
	return fd;
}

bool uevent_wait(int socket, int64_t end_ns)
{
	char text[8192];
	for (;;) {
		int64_t left_ms = end_ns == INT64_MAX ? -1 : (end_ns - clock_ns(CLOCK_MONOTONIC)) / 1000000;
		if (end_ns != INT64_MAX && left_ms <= 0)
			return false;
		struct pollfd poller = {.fd = socket, .events = POLLIN};
		int ready = poll(&poller, 1, (int)left_ms);
		if (ready < 0 && errno != EINTR)
			return false;
		/* ENOBUFS: some were lost; the caller looks again anyway. */
		if (ready > 0 && (recv(socket, text, sizeof text, MSG_DONTWAIT) >= 0 || errno == ENOBUFS))
			return true;
	}
}
