#include "child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "loop.h"
#include "system.h"

#define RESULT_MAX (HYPER_MESSAGE_MAX - 4096)

struct worker {
	struct worker *next;
	pid_t pid;
	int result; /* a file in memory: errno, then words or fields */
	struct request *request;
	struct work work;
	struct deadline deadline;
	bool late;
};

static struct worker *workers;

/* ---- notes ---- */

int note_pair(int pair[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	return fcntl(pair[0], F_SETFL, O_NONBLOCK);
}

int note_file(struct span bytes)
{
	int fd = memfd_create("note", MFD_CLOEXEC);
	if (fd >= 0 && write_all(fd, bytes.data, bytes.length) != 0)
		close_fd(&fd);
	return fd;
}

int note_send(int socket, const struct note *note)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * NOTE_FDS)];
	} control = {.space = {0}};
	struct iovec bytes[2] = {{(void *)&note->kind, sizeof note->kind}, {(void *)&note->failure, sizeof note->failure}};
	struct msghdr message = {.msg_iov = bytes, .msg_iovlen = 2};
	if (note->count > 0) {
		size_t length = sizeof(int) * (size_t)note->count;
		message.msg_control = &control;
		message.msg_controllen = (socklen_t)CMSG_SPACE(length);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = (socklen_t)CMSG_LEN(length);
		memcpy(CMSG_DATA(header), note->fds, length);
	}
	ssize_t done;
	do
		done = sendmsg(socket, &message, MSG_NOSIGNAL);
	while (done < 0 && errno == EINTR);
	return done < 0 ? -1 : 0;
}

int note_receive(int socket, struct note *note)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * NOTE_FDS)];
	} control = {.space = {0}};
	*note = (struct note){0};
	struct iovec bytes[2] = {{&note->kind, sizeof note->kind}, {&note->failure, sizeof note->failure}};
	struct msghdr message = {
		.msg_iov = bytes, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t got;
	do
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return (int)got;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS) {
		note->count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(note->fds, CMSG_DATA(header), sizeof(int) * (size_t)note->count);
	}
	note->failure.text[sizeof note->failure.text - 1] = '\0';
	return 1;
}

/* ---- children ---- */

pid_t child_fork(uint64_t namespaces, int cgroup)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
	} arguments = {.flags = namespaces, .exit_signal = SIGCHLD};
	if (cgroup >= 0) {
		arguments.flags |= HS_CLONE_INTO_CGROUP;
		arguments.cgroup = (uint64_t)cgroup;
	}
	return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

static int by_number(const void *left, const void *right)
{
	int a = *(const int *)left, b = *(const int *)right;
	return (a > b) - (a < b);
}

static void close_others(const int *keep, size_t count)
{
	int sorted[16];
	unsigned next = 3;
	memcpy(sorted, keep, count * sizeof *keep);
	qsort(sorted, count, sizeof *sorted, by_number);
	for (size_t i = 0; i < count; i++) {
		if (sorted[i] < (int)next)
			continue;
		if (sorted[i] > (int)next)
			(void)sys_close_range(next, (unsigned)sorted[i] - 1);
		next = (unsigned)sorted[i] + 1;
	}
	(void)sys_close_range(next, ~0u);
}

void child_begin(const int *keep, size_t count)
{
	struct rlimit files = {1024, 524288};
	sigset_t none;
	/* SIGPIPE is the only signal that PID 1 does not leave as it was. */
	(void)signal(SIGPIPE, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setrlimit(RLIMIT_NOFILE, &files);
	(void)umask(0);
	close_others(keep, count);
}

/* ---- workers ---- */

static void worker_late(struct deadline *deadline)
{
	struct worker *worker = container_of(deadline, struct worker, deadline);
	worker->late = true;
	(void)kill(worker->pid, SIGKILL);
}

__attribute__((noreturn)) static void worker_main(const struct worker *worker)
{
	struct failure failure = {0};
	struct buffer fields = {0};
	int keep[9];
	memcpy(keep, worker->work.keep, sizeof worker->work.keep);
	keep[worker->work.keep_count] = worker->result;
	child_begin(keep, worker->work.keep_count + 1);
	int error = worker->work.work(worker->request, worker->work.context, &fields, &failure) == 0 ? 0 : failure.error;
	if (fields.failed || fields.length > RESULT_MAX)
		error = ENOMEM;
	if (write_all(worker->result, &error, sizeof error) != 0)
		_exit(1);
	if (error)
		(void)write_all(worker->result, failure.text, strlen(failure.text));
	else
		(void)write_all(worker->result, fields.data, fields.length);
	_exit(0);
}

int worker_start(struct request *request, const struct work *work, struct failure *failure)
{
	struct worker *worker = calloc(1, sizeof *worker);
	if (!worker)
		return fail(failure, ENOMEM, "no memory for a worker");
	*worker = (struct worker){.request = request, .work = *work};
	worker->result = memfd_create("result", MFD_CLOEXEC);
	worker->pid = worker->result < 0 ? -1 : child_fork(0, -1);
	if (worker->pid == 0)
		worker_main(worker);
	if (worker->pid < 0) {
		int error = errno;
		close_fd(&worker->result);
		free(worker);
		return fail(failure, error, "cannot start a worker: %s", reason(error));
	}
	worker->next = workers;
	workers = worker;
	worker->deadline.expired = worker_late;
	loop_arm(&worker->deadline, work->limit_ms);
	return 0;
}

static void worker_answer(struct worker *worker)
{
	struct failure failure = {0};
	struct buffer fields = {0};
	struct stat info;
	size_t size = fstat(worker->result, &info) == 0 ? (size_t)info.st_size : 0;
	uint8_t *bytes = malloc(size + 1);
	int error = ETIMEDOUT;
	if (!bytes || size < sizeof error || pread(worker->result, bytes, size, 0) != (ssize_t)size) {
		(void)fail(&failure, worker->late ? ETIMEDOUT : EIO, "operation %u %s", worker->request->operation,
		           worker->late ? "took too long and was given up" : "failed inside");
	} else {
		memcpy(&error, bytes, sizeof error);
		bytes[size] = '\0';
		if (error)
			(void)fail(&failure, error, "%s", (const char *)bytes + sizeof error);
		else
			fields = (struct buffer){.data = bytes + sizeof error, .length = size - sizeof error};
	}
	if (worker->work.finished)
		worker->work.finished(worker->work.context, failure.error);
	request_done(worker->request, failure.error ? &failure : NULL, &fields);
	free(bytes);
}

bool worker_reaped(pid_t pid)
{
	for (struct worker **at = &workers; *at; at = &(*at)->next) {
		struct worker *worker = *at;
		if (worker->pid != pid)
			continue;
		*at = worker->next;
		loop_disarm(&worker->deadline);
		worker_answer(worker);
		close_fd(&worker->result);
		free(worker);
		return true;
	}
	return false;
}
