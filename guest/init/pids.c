#include "pids.h"

#include <errno.h>
#include <stdio.h>

#include "child.h"
#include "holder.h"
#include "system.h"

static int own = -1, shared = -1; /* the VM's, the one that containers share */

int pids_shared(struct failure *failure)
{
	char path[32];
	if (shared >= 0)
		return shared;
	pid_t pid = child_fork(CLONE_NEWPID, -1);
	if (pid == 0)
		pod_init_main();
	(void)snprintf(path, sizeof path, "/proc/%d/ns/pid", pid);
	shared = pid < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	if (shared < 0)
		return fail(failure, errno, "cannot make the shared PID namespace: %s", reason(errno));
	return shared;
}

pid_t pids_fork(int pids, int cgroup)
{
	if (own < 0)
		own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (own < 0 || setns(pids, CLONE_NEWPID) != 0)
		return -1;
	pid_t pid = child_fork(0, cgroup);
	int error = errno;
	if (pid != 0 && setns(own, CLONE_NEWPID) != 0)
		log_line("cannot return to the VM's PID namespace: %s", reason(errno));
	errno = error;
	return pid;
}
