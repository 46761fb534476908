/*
 * Processes, as PID 1 keeps them: from the arrival of PROCESS_START (its streams take credit from then on) to
 * PROCESS_FORGET.  At most PROCESSES_MAX.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include "container.h"
#include "hearing.h"
#include "request.h"
#include "stream.h"

#define PROCESSES_MAX 1024

enum process_state {
	PROCESS_QUEUED,   /* its PROCESS_START waits its turn */
	PROCESS_STARTING, /* the child is on its way to exec */
	PROCESS_RUNNING,
	PROCESS_EXITED,
};

/* A signal that waits until its process hears it (signals.h). */
struct call {
	int signal;
	struct patience patience;
	int next_ms, waited_ms;
	struct deadline deadline;
};

struct process {
	struct process *next;
	uint32_t id;
	char container[HYPER_NAME_MAX + 1];
	enum process_state state;
	bool init, terminal, with_stdin;
	pid_t pid;
	int wait_status;
	uint64_t exited_ns;
	bool oom;
	uint64_t oom_kills_before;
	struct stream streams[3];
	struct watch report; /* from the child until its exec */
	struct failure failure;
	struct call call;
	struct request *request; /* the PROCESS_START that waits for the exec */
	int terminal_peer; /* keeps the terminal from hanging up while nobody has it open */
};

/* When the request arrives: NULL, and `failure` says why, when it cannot be one. */
struct process *process_register(const struct request *request, struct failure *failure);

/* It never began: the session that asked is gone. */
void process_abandon(uint32_t id);

struct process *process_find(uint32_t id);

/* The one that a request names; NULL, and the request is answered, where there is none, or with `running` none that runs. */
struct process *process_named(struct request *request, bool running);
struct stream *process_stream(uint32_t number);

void processes_describe(struct buffer *payload);
void processes_new_session(void);

void op_process_start(struct request *request);
void op_process_resize(struct request *request);
void op_process_forget(struct request *request);

/* A child of PID 1 has exited; whether it was a process. */
bool process_reaped(pid_t pid, int wait_status);

#endif
