#include "port.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <linux/vm_sockets.h> /* needs sys/socket.h */

#include "serial.h"
#include "uevent.h"
#include "util.h"

/* A console of Xen's has its node before it has a driver. */
static bool absent(int error)
{
	return error == ENOENT || error == ENODEV || error == ENXIO;
}

static int open_now(const char *path)
{
	struct termios line;
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || tcgetattr(fd, &line) != 0)
		return fd; /* no terminal line */
	cfmakeraw(&line);
	line.c_cflag |= CLOCAL | CREAD;
	(void)cfsetspeed(&line, B115200);
	if (tcsetattr(fd, TCSANOW, &line) != 0)
		close_fd(&fd);
	return fd;
}

int port_open(const char *path)
{
	int fd = open_now(path);
	if (fd >= 0 || !absent(errno) || strncmp(path, "/dev/", 5) != 0)
		return fd;
	int events = uevent_open();
	if (events < 0)
		return -1;
	log_line("waiting for %s", path);
	while ((fd = open_now(path)) < 0 && absent(errno) && uevent_wait(events, INT64_MAX))
		continue;
	close_fd(&events);
	return fd;
}

/* The port by its name, which may come a moment after the port: -1 and ENOENT while it is not there. */
static int open_virtio(void)
{
	char path[300], name[64];
	DIR *list = opendir("/sys/class/virtio-ports");
	int fd = -1;
	for (struct dirent *entry; list && fd < 0 && (entry = readdir(list));) {
		(void)snprintf(path, sizeof path, "%s/name", entry->d_name);
		if (entry->d_name[0] == '.' || read_text_at(dirfd(list), path, name, sizeof name) < 0 ||
		    strcmp(name, HYPER_PORT_NAME "\n") != 0)
			continue;
		(void)snprintf(path, sizeof path, "/dev/%s", entry->d_name);
		fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	}
	if (list)
		(void)closedir(list);
	return fd;
}

static int await_virtio(void)
{
	int fd = open_virtio();
	if (fd >= 0)
		return fd;
	int events = uevent_open();
	if (events < 0)
		return -1;
	log_line("waiting for the port %s", HYPER_PORT_NAME);
	while ((fd = open_virtio()) < 0 && uevent_wait(events, INT64_MAX))
		continue;
	close_fd(&events);
	return fd;
}

static int listen_on(const struct sockaddr *address, socklen_t length)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && (bind(fd, address, length) != 0 || listen(fd, 4) != 0))
		close_fd(&fd);
	return fd;
}

static int listen_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (snprintf(address.sun_path, sizeof address.sun_path, "%s", path) >= (int)sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return listen_on((struct sockaddr *)&address, sizeof address);
}

static int listen_vsock(const char *port)
{
	struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
	uint64_t number;
	if (!parse_u64(port, &number) || number > UINT32_MAX) {
		errno = EINVAL;
		return -1;
	}
	address.svm_port = (unsigned)number;
	return listen_on((struct sockaddr *)&address, sizeof address);
}

int port_find(const char *address, int *port, int *listener)
{
	*port = *listener = -1;
	if (!address) {
		*port = await_virtio();
	} else if (strncmp(address, "unix:", 5) == 0) {
		*listener = listen_unix(address + 5);
	} else if (strncmp(address, "vsock:", 6) == 0) {
		*listener = listen_vsock(address + 6);
	} else if (strncmp(address, "serial:", 7) == 0) {
		*port = serial_start(address + 7);
	} else if (strncmp(address, "fd:", 3) == 0) {
		*port = atoi(address + 3);
		if (fcntl(*port, F_SETFD, FD_CLOEXEC) != 0 || fcntl(*port, F_SETFL, O_NONBLOCK) != 0)
			*port = -1;
	} else {
		*port = port_open(address);
	}
	return *port >= 0 || *listener >= 0 ? 0 : -1;
}
