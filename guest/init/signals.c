#include "signals.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "cgroup.h"
#include "system.h"

#define FIRST_LOOK_MS 1
#define LONGEST_LOOK_MS 128
#define PATIENCE_MS 600000
#define STATUS_MAX 16384 /* longer only with thousands of groups: then nobody knows, and it is sent once */

/* ---- a signal that waits ---- */

void signal_forget(struct process *process)
{
	loop_disarm(&process->call.deadline);
}

static void look(struct process *process)
{
	static char status[STATUS_MAX];
	struct call *call = &process->call;
	struct hearing hearing = {0};
	char path[32];
	(void)snprintf(path, sizeof path, "/proc/%d/status", process->pid);
	ssize_t length = read_text_at(AT_FDCWD, path, status, sizeof status);
	if (length > 0 && length < STATUS_MAX - 1)
		hearing_read(status, &hearing);
	(void)snprintf(path, sizeof path, "/proc/%d/syscall", process->pid);
	if (read_text_at(AT_FDCWD, path, status, sizeof status) > 0)
		hearing.waits = hearing_in_call(status, SYS_rt_sigtimedwait);
	enum step step = patience_step(&call->patience, call->signal, &hearing);
	if (step == STEP_SEND || step == STEP_LAST)
		(void)kill(process->pid, call->signal);
	call->waited_ms += call->next_ms;
	if (step == STEP_LAST || step == STEP_DONE || call->waited_ms > PATIENCE_MS)
		return;
	loop_arm(&call->deadline, call->next_ms);
	if (call->next_ms < LONGEST_LOOK_MS)
		call->next_ms *= 2;
}

static void look_again(struct deadline *deadline)
{
	look(container_of(deadline, struct process, call.deadline));
}

static void begin_call(struct process *process, int number)
{
	signal_forget(process);
	process->call = (struct call){.signal = number, .next_ms = FIRST_LOOK_MS, .deadline = {.expired = look_again}};
	look(process);
}

/* ---- the operation ---- */

struct signal_all {
	int signal;
	int error;
};

static int signal_one(pid_t pid, void *context)
{
	struct signal_all *all = context;
	if (kill(pid, all->signal) != 0 && errno != ESRCH)
		all->error = errno;
	return 0;
}

static bool can_be_caught(int number)
{
	return number > 0 && number != SIGKILL && number != SIGSTOP;
}

void op_process_signal(struct request *request)
{
	struct failure failure;
	struct process *process = process_named(request, true);
	if (!process)
		return;
	struct signal_all all = {(int)find_u32(request->fields, HYPER_SIGNAL, 0), 0};
	struct container *container = container_find(process->container);
	if (all.signal < 0 || all.signal > 64)
		all.error = EINVAL;
	else if (find_flag(request->fields, HYPER_ALL) && process->init && container)
		(void)cgroup_each(container->cgroup, signal_one, &all);
	else if (find_flag(request->fields, HYPER_PATIENT) && can_be_caught(all.signal))
		begin_call(process, all.signal);
	else if (kill(process->pid, all.signal) != 0)
		all.error = errno;
	if (all.error)
		(void)fail(&failure, all.error, "process %" PRIu32 ": signal %d: %s", process->id, all.signal, reason(all.error));
	request_done(request, all.error ? &failure : NULL, NULL);
}
