/*
 * Children of PID 1: how they are made, and the notes they exchange with it before they exec.
 * Anything that may block is done in a child, so that PID 1 always serves.
 */
#ifndef CHILD_H
#define CHILD_H

#include "request.h"
#include "util.h"

#define NOTE_FDS 5

enum note_kind {
	NOTE_READY = 1, /* holder to PID 1: all is mounted; the root directory */
	NOTE_FAILED,    /* child to PID 1 */
	NOTE_CREATE,    /* PID 1 to a holder made ahead: CONTAINER_CREATE's fields as a file */
	NOTE_TERMINAL,  /* child to PID 1: the terminal's master */
	NOTE_START,     /* PID 1 to holder: the request's fields as a file, the report socket, stdin, stdout, stderr */
};

struct note {
	uint32_t kind;
	struct failure failure;
	int fds[NOTE_FDS];
	int count;
};

/* A pair of sockets for notes, both O_CLOEXEC; the first does not block. */
int note_pair(int pair[2]);
/* These bytes as a file for a note to carry, or -1. */
int note_file(struct span bytes);

int note_send(int socket, const struct note *note);

/* 1: a note; 0: the other side is gone; -1: errno, EAGAIN for nothing yet. */
int note_receive(int socket, struct note *note);

/* fork(2), into a cgroup (-1: PID 1's) and new namespaces. */
pid_t child_fork(uint64_t namespaces, int cgroup);

/* In the child: signals, limits and umask as a process expects them, and no descriptor above 2 but `keep`. */
void child_begin(const int *keep, size_t count);

/*
 * A worker: a child that runs `work` and answers `request` with what it returns and appends to `fields`.  It has the
 * descriptors in `keep` (at most 8) and no others, so that it holds no other container's mounts.  `finished` (may be
 * NULL) is called in PID 1 just before the answer, with its errno.
 */
typedef int (*work_function)(const struct request *request, void *context, struct buffer *fields, struct failure *failure);
typedef void (*worker_finished)(void *context, int error);
struct work {
	work_function work;
	worker_finished finished;
	void *context;
	int limit_ms;
	int keep[8];
	size_t keep_count;
};
int worker_start(struct request *request, const struct work *work, struct failure *failure);
bool worker_reaped(pid_t pid);

#endif
