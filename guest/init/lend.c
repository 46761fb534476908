#include "lend.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "archive.h"
#include "system.h"
#include "util.h"

#define HEAD 8
#define PAYLOAD 65536
#define PATIENCE_S 5 /* for a connection that takes nothing */

static int connections[LEND_CHANNELS];
static bool owed[LEND_CHANNELS]; /* the other side has not yet said that it knows of the end */
static unsigned char bytes[HEAD + PAYLOAD];

static int listening_at(int root, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char above[PATH_MAX];
	(void)snprintf(above, sizeof above, "%s", path);
	char *slash = strrchr(above, '/');
	*slash = '\0';
	int directory = open_in_root(root, *above ? above : "/", O_RDONLY | O_DIRECTORY);
	if (directory < 0 || fchdir(directory) != 0)
		return -1;
	close_fd(&directory);
	if (strlen(slash + 1) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s", slash + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	mode_t before = umask(0177);
	if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, LEND_CHANNELS) != 0))
		close_fd(&fd);
	(void)umask(before);
	return fd;
}

static bool say(unsigned channel, size_t length)
{
	const unsigned char head[HEAD] = {(unsigned char)channel, 0, 0, 0, 0, (unsigned char)(length >> 16),
	                                  (unsigned char)(length >> 8), (unsigned char)length};
	memcpy(bytes, head, HEAD);
	return write_all(1, bytes, HEAD + length) == 0;
}

static bool read_whole(unsigned char *to, size_t length)
{
	while (length > 0) {
		ssize_t got = read(0, to, length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		to += got;
		length -= (size_t)got;
	}
	return true;
}

static bool part_from(unsigned channel)
{
	close_fd(&connections[channel]);
	owed[channel] = true;
	return say(channel, 0);
}

/* A frame of the input, for whom it is; false at the end of it, or where it is none. */
static bool pass_in(void)
{
	unsigned char head[HEAD];
	if (!read_whole(head, HEAD))
		return false;
	size_t length = (size_t)head[4] << 24 | (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
	if (head[0] >= LEND_CHANNELS || length > PAYLOAD || !read_whole(bytes, length))
		return false;
	int *connection = &connections[head[0]];
	if (*connection < 0) { /* it left when this was on its way */
		owed[head[0]] &= length > 0;
		return true;
	}
	if (length == 0) {
		close_fd(connection);
		return say(head[0], 0);
	}
	for (size_t at = 0; at < length;) {
		ssize_t sent = send(*connection, bytes + at, length - at, MSG_NOSIGNAL);
		if (sent < 0)
			return part_from(head[0]);
		at += (size_t)sent;
	}
	return true;
}

/* What a connection says, or that it ended. */
static bool pass_out(unsigned channel)
{
	ssize_t got = recv(connections[channel], bytes + HEAD, PAYLOAD, MSG_DONTWAIT);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	return got > 0 ? say(channel, (size_t)got) : part_from(channel);
}

static void take(int listener)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	for (unsigned i = 0; i < LEND_CHANNELS; i++) {
		if (connections[i] >= 0 || owed[i])
			continue;
		connections[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (connections[i] >= 0)
			(void)setsockopt(connections[i], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
		return;
	}
}

void lend(int root, const char *path)
{
	enum { INPUT, LISTENER, FIRST };
	struct pollfd polled[FIRST + LEND_CHANNELS];
	int listener = listening_at(root, path);
	if (listener < 0)
		archive_give_up(path, errno);
	for (unsigned i = 0; i < LEND_CHANNELS; i++)
		connections[i] = -1;
	for (bool going = true; going;) {
		bool room = false;
		for (unsigned i = 0; i < LEND_CHANNELS; i++) {
			polled[FIRST + i] = (struct pollfd){.fd = connections[i], .events = POLLIN};
			room |= connections[i] < 0 && !owed[i];
		}
		polled[INPUT] = (struct pollfd){.fd = 0, .events = POLLIN};
		polled[LISTENER] = (struct pollfd){.fd = room ? listener : -1, .events = POLLIN};
		if (poll(polled, FIRST + LEND_CHANNELS, -1) < 0)
			continue;
		for (unsigned i = 0; going && i < LEND_CHANNELS; i++) {
			if (polled[FIRST + i].revents && connections[i] >= 0)
				going = pass_out(i);
		}
		if (going && polled[INPUT].revents)
			going = pass_in();
		if (going && polled[LISTENER].revents)
			take(listener);
	}
	_exit(0);
}
