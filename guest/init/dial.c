#include "dial.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "archive.h"
#include "util.h"

void dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(path) >= sizeof address.sun_path)
		archive_give_up(path, ENAMETOOLONG);
	memcpy(address.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
		archive_give_up(path, errno);
	pid_t parent = getpid(), child = fork();
	if (child < 0)
		archive_give_up(path, errno);
	if (child == 0) {
		bool whole = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent && copy_all(0, fd);
		(void)shutdown(fd, SHUT_WR);
		_exit(whole ? 0 : EPIPE);
	}
	_exit(copy_all(fd, 1) ? 0 : errno);
}
