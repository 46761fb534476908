/*
 * hyperstart: PID 1 of a VM that has nothing else in it.  It brings the VM up, finds the host, and serves it for ever.
 *
 *     /init                         in an initramfs
 *     hyperstart --serve ADDRESS    elsewhere, for tests: no boot (addresses as in port.h)
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "container.h"
#include "loop.h"
#include "name.h"
#include "port.h"
#include "process.h"
#include "rehearse.h"
#include "serial.h"
#include "session.h"
#include "util.h"
#include "version.h"
#include "vm.h"

#define REAPED_A_ROUND 256

static struct watch children = {.fd = -1};

/* A bounded number a round: a storm of dying processes must not keep the host waiting. */
static void children_ready(struct watch *watch, uint32_t events)
{
	struct signalfd_siginfo info;
	int status, reaped = 0;
	pid_t pid;
	(void)events;
	(void)read(watch->fd, &info, sizeof info);
	while (reaped++ < REAPED_A_ROUND && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (!process_reaped(pid, status) && !container_reaped(pid) && !serial_reaped(pid))
			(void)worker_reaped(pid);
	}
	if (reaped > REAPED_A_ROUND)
		(void)raise(SIGCHLD); /* comes back for the rest */
}

static int watch_children(void)
{
	sigset_t child;
	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	(void)signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &child, NULL) != 0)
		return -1;
	children.fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	children.ready = children_ready;
	return children.fd < 0 ? -1 : loop_set(&children, EPOLLIN);
}

__attribute__((noreturn)) static void serve(const char *address)
{
	struct rlimit files = {16384, 16384};
	int port, listener;
	/* What is said to children before their exec, and their descriptors, are not for the container's eyes. */
	(void)prctl(PR_SET_DUMPABLE, 0);
	if (setrlimit(RLIMIT_NOFILE, &files) != 0)
		log_line("cannot raise the number of open files: %s", reason(errno));
	if (loop_init() != 0 || watch_children() != 0)
		vm_fatal("no event loop");
	if (port_find(address, &port, &listener) != 0 || session_serve(port, listener) != 0) {
		log_line("the host's port %s: %s", address ? address : HYPER_PORT_NAME, reason(errno));
		vm_fatal("no way to the host");
	}
	disks_forget();
	vm_serving();
	for (bool more = true;;) {
		loop_once(!more);
		more = session_pump();
	}
}

int main(int argc, char **argv)
{
	char address[256];
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return printf("hyperstart %s, wire version %d\n", HYPERSTART_VERSION, HYPER_VERSION) < 0;
	if (argc == 2 && strcmp(argv[1], "--rehearse") == 0)
		return rehearse();
	if (argc == 3 && strcmp(argv[1], "--serve") == 0)
		serve(argv[2]);
	if (getpid() != 1) {
		(void)fprintf(stderr, "hyperstart is the init of a virtual machine; elsewhere: hyperstart --serve ADDRESS\n");
		return 2;
	}
	vm_boot();
	serve(vm_argument("hyper.port", address, sizeof address) ? address : NULL);
}
