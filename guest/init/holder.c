#include "holder.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "child.h"
#include "launch.h"
#include "place.h"
#include "root.h"
#include "skeleton.h"
#include "system.h"
#include "volume.h"

static int sysctl_write(const char *name, const char *value, struct failure *failure)
{
	char path[300];
	(void)snprintf(path, sizeof path, "/proc/sys/%s", name);
	/* "net.ipv4.conf.eth0/1.forwarding": a slash where a name has a dot; no way leads up, as nothing is "..". */
	for (char *c = path + strlen("/proc/sys/"); *c; c++) {
		if (*c == '.' || *c == '/')
			*c = *c == '.' ? '/' : '.';
	}
	if (strstr(path, "/../") || name[0] == '.')
		return fail(failure, EINVAL, "sysctl %s: is no name", name);
	if (write_text_at(AT_FDCWD, path, value) != 0)
		return fail(failure, errno, "sysctl %s: cannot set \"%s\": %s", name, value, reason(errno));
	return 0;
}

int sysctls_write(struct span fields, struct failure *failure)
{
	struct span each, name, value;
	while (field_each(&fields, HYPER_SYSCTL, &each)) {
		(void)field_find(each, HYPER_NAME, &name);
		(void)field_find(each, HYPER_VALUE, &value);
		char *name_text = span_text(name), *value_text = span_text(value);
		int done = name_text && value_text ? sysctl_write(name_text, value_text, failure) : fail(failure, ENOMEM, "no memory");
		free(name_text);
		free(value_text);
		if (done != 0)
			return -1;
	}
	return 0;
}

static int make_namespaces(struct failure *failure)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWCGROUP) != 0)
		return fail(failure, errno, "cannot make namespaces: %s", reason(errno));
	return 0;
}

/* All in the root: as planned, or what was planned ahead and the rest of it. */
static int furnish(int root, const struct span *planned, struct span fields, struct failure *failure)
{
	if (planned)
		return skeleton_join(root, *planned, fields, failure);
	if (root_mounts(root, fields, failure) != 0 || root_files(root, fields, failure) != 0 ||
	    root_devices(root, fields, failure) != 0)
		return -1;
	return root_protect(root, fields, failure);
}

/* While the root can be written to: the program's working directory, if it is not there. */
static int make_cwd(int root, struct span fields, struct failure *failure)
{
	struct span value;
	char *path = field_find(fields, HYPER_CWD, &value) ? span_text(value) : NULL;
	int made = path ? place_make_directory(root, path, failure) : -1;
	free(path);
	if (path && made < 0)
		return -1;
	close_fd(&made);
	return 0;
}

static int assemble(const struct span *planned, struct span fields, struct note *ready)
{
	struct failure *failure = &ready->failure;
	int root = root_assemble(fields, failure);
	if (root < 0 || furnish(root, planned, fields, failure) != 0 || make_cwd(root, fields, failure) != 0 ||
	    sysctls_write(fields, failure) != 0 || root_enter(root, fields, failure) != 0) {
		root_abandon();
		return -1;
	}
	(void)close(root);
	ready->fds[0] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ready->count = 1;
	return ready->fds[0] >= 0 ? 0 : fail(failure, errno, "cannot open the root: %s", reason(errno));
}

/* A request's fields from the file that a note carries; data is NULL where that fails. */
static struct span read_fields(int fd)
{
	struct stat info;
	void *bytes = MAP_FAILED;
	if (fstat(fd, &info) == 0)
		bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	return bytes == MAP_FAILED ? (struct span){NULL, 0} : (struct span){bytes, (size_t)info.st_size};
}

/* Becomes the init process that the note describes. */
__attribute__((noreturn)) static void become_init(const struct note *start)
{
	struct launch launch = {.init = true, .report = start->fds[1]};
	struct failure failure = {0};
	memcpy(launch.stdio, start->fds + 2, sizeof launch.stdio);
	launch.fields = read_fields(start->fds[0]);
	if (!launch.fields.data) {
		(void)fail(&failure, errno, "cannot read what to start: %s", reason(errno));
		launch_failed(&launch, &failure);
	}
	launch_main(&launch);
}

__attribute__((noreturn)) static void give_up(int socket, struct note *note)
{
	note->kind = NOTE_FAILED;
	(void)note_send(socket, note);
	_exit(1);
}

/* Makes the root, says so, and waits to become the container's init. */
__attribute__((noreturn)) static void hold(const struct span *planned, struct span fields, int socket)
{
	struct note note = {.kind = NOTE_READY};
	if (assemble(planned, fields, &note) != 0)
		give_up(socket, &note);
	if (note_send(socket, &note) != 0)
		_exit(1);
	(void)close(note.fds[0]);
	if (note_receive(socket, &note) != 1 || note.kind != NOTE_START || note.count != NOTE_FDS)
		_exit(1);
	(void)close(socket);
	become_init(&note);
}

static void begin(int socket, struct note *note)
{
	child_begin(&socket, 1);
	(void)prctl(PR_SET_NAME, "hyper-holder");
	if (make_namespaces(&note->failure) != 0)
		give_up(socket, note);
}

void holder_main(const struct request *request, int socket)
{
	struct note note = {0};
	begin(socket, &note);
	volumes_part();
	hold(NULL, request->fields, socket);
}

void prepared_holder_main(const struct request *request, int socket)
{
	struct note note = {0};
	begin(socket, &note);
	volumes_follow();
	if (skeleton_make(request->fields, &note.failure) != 0)
		give_up(socket, &note);
	note.kind = NOTE_READY;
	if (note_send(socket, &note) != 0)
		_exit(1);
	if (note_receive(socket, &note) != 1 || note.kind != NOTE_CREATE || note.count != 1)
		_exit(1);
	struct span fields = read_fields(note.fds[0]);
	(void)close(note.fds[0]);
	if (!fields.data) {
		(void)fail(&note.failure, errno, "cannot read what to make: %s", reason(errno));
		give_up(socket, &note);
	}
	volumes_part();
	hold(&request->fields, fields, socket);
}

void pod_init_main(void)
{
	sigset_t all;
	child_begin(NULL, 0);
	(void)prctl(PR_SET_NAME, "hyper-pod");
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, NULL);
	/* Its root is an empty directory: /proc/1/root shows containers nothing. */
	if (unshare(CLONE_NEWNS) != 0)
		_exit(1);
	volumes_part(); /* else they would go with what is left here */
	if (mount("empty", "/r", "tmpfs", MS_RDONLY, NULL) != 0 || chdir("/r") != 0 ||
	    sys_pivot_root(".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
		_exit(1);
	(void)sys_close_range(0, ~0u);
	for (;;) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			continue;
		(void)sigwaitinfo(&all, NULL);
	}
}
