/*
 * "talk PATH": all of its input to the socket at PATH, whose half is closed then, but not before something has been
 * answered, as Docker's clients do it; and all that comes from there.
 */
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool pass(int from, int to)
{
	static char bytes[65536];
	ssize_t got = read(from, bytes, sizeof bytes);
	for (ssize_t at = 0, put; at < got; at += put) {
		if ((put = write(to, bytes + at, (size_t)(got - at))) < 0)
			return false;
	}
	return got > 0;
}

int main(int count, char **arguments)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (count != 2 || fd < 0)
		return 1;
	strncpy(address.sun_path, arguments[1], sizeof address.sun_path - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
		return 2;
	struct pollfd polled[] = {{.fd = 0, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	for (bool answered = false, ended = false;;) {
		if (poll(polled, 2, -1) < 0)
			return 3;
		if (polled[0].revents && !pass(0, fd)) {
			polled[0].fd = -1;
			ended = true;
		}
		if (polled[1].revents && !pass(fd, 1))
			return 0;
		answered |= polled[1].revents != 0;
		if (answered && ended)
			(void)shutdown(fd, SHUT_WR);
	}
}
