#include "process.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>

#include "cgroup.h"
#include "child.h"
#include "launch.h"
#include "session.h"
#include "signals.h"
#include "system.h"

#define BUCKETS 256

static struct process *buckets[BUCKETS];
static unsigned count;

struct process *process_find(uint32_t id)
{
	struct process *each = buckets[id % BUCKETS];
	while (each && each->id != id)
		each = each->next;
	return each;
}

/* NULL also for a stream that the process does not have. */
struct stream *process_stream(uint32_t number)
{
	struct process *process = process_find(number / 4);
	uint32_t which = number % 4;
	if (!process || which == 3 || (which == HYPER_STDERR && process->terminal) ||
	    (which == HYPER_STDIN && !process->with_stdin))
		return NULL;
	return &process->streams[which];
}

struct process *process_register(const struct request *request, struct failure *failure)
{
	struct process *process = NULL;
	uint32_t id = request->process;
	if (id < 1 || id > HYPER_PROCESS_MAX)
		(void)fail(failure, EINVAL, "process %" PRIu32 ": is no number for one", id);
	else if (process_find(id))
		(void)fail(failure, EEXIST, "process %" PRIu32 ": there is one already", id);
	else if (count >= PROCESSES_MAX)
		(void)fail(failure, EAGAIN, "process %" PRIu32 ": more than %d, counting those not forgotten", id, PROCESSES_MAX);
	else if (!(process = calloc(1, sizeof *process)))
		(void)fail(failure, ENOMEM, "process %" PRIu32 ": no memory", id);
	if (!process)
		return NULL;
	process->id = id;
	memcpy(process->container, request->container, sizeof process->container);
	process->init = find_flag(request->fields, HYPER_INIT);
	process->terminal = find_flag(request->fields, HYPER_TTY);
	process->with_stdin = find_flag(request->fields, HYPER_WITH_STDIN);
	process->report.fd = process->terminal_peer = -1;
	for (uint32_t i = 0; i < 3; i++)
		stream_init(&process->streams[i], id * 4 + i);
	process->next = buckets[id % BUCKETS];
	buckets[id % BUCKETS] = process;
	count++;
	return process;
}

static void discard(struct process *process)
{
	struct process **at = &buckets[process->id % BUCKETS];
	while (*at != process)
		at = &(*at)->next;
	*at = process->next;
	for (int i = 0; i < 3; i++)
		stream_free(&process->streams[i]);
	loop_close(&process->report);
	close_fd(&process->terminal_peer);
	free(process);
	count--;
}

void process_abandon(uint32_t id)
{
	struct process *process = process_find(id);
	if (process)
		discard(process);
}

/* ---- start ---- */

static void finish_start(struct process *process)
{
	struct request *request = process->request;
	loop_close(&process->report);
	process->request = NULL;
	if (process->failure.error) {
		struct failure failure = process->failure;
		discard(process);
		request_done(request, &failure, NULL);
		return;
	}
	struct buffer fields = {0};
	process->state = PROCESS_RUNNING;
	field_u32(&fields, HYPER_PID, (uint32_t)process->pid);
	request_done(request, NULL, &fields);
	buffer_free(&fields);
}

static void take_terminal(struct process *process, int master)
{
	int input = process->with_stdin ? fcntl(master, F_DUPFD_CLOEXEC, 3) : -1;
	process->terminal_peer = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	stream_attach(&process->streams[HYPER_STDOUT], master, true);
	if (input >= 0)
		stream_attach(&process->streams[HYPER_STDIN], input, true);
}

/* Notes until exec closes the socket; false once that, or the child's end, is seen. */
static bool take_report(struct process *process)
{
	struct note note;
	int got = note_receive(process->report.fd, &note);
	if (got < 0 && errno == EAGAIN)
		return true;
	if (got == 1 && note.kind == NOTE_TERMINAL && note.count == 1) {
		take_terminal(process, note.fds[0]);
		return true;
	}
	if (got == 1 && note.kind == NOTE_FAILED)
		process->failure = note.failure;
	return got == 1;
}

static void report_ready(struct watch *watch, uint32_t events)
{
	struct process *process = container_of(watch, struct process, report);
	(void)events;
	if (!take_report(process))
		finish_start(process);
}

/* The child's ends of its streams, and the report socket; ours are attached.  Stdin without a host is /dev/null. */
static int open_streams(struct process *process, int theirs[4], struct failure *failure)
{
	int pair[2];
	for (int i = 0; i < 4; i++)
		theirs[i] = -1;
	if (note_pair(pair) != 0)
		return fail(failure, errno, "process %" PRIu32 ": %s", process->id, reason(errno));
	process->report.fd = pair[0];
	theirs[3] = pair[1];
	for (int i = 0; i < 3; i++) {
		bool pipe = !process->terminal && (i != HYPER_STDIN || process->with_stdin);
		if (!pipe) {
			theirs[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
			if (theirs[i] < 0)
				return fail(failure, errno, "/dev/null: %s", reason(errno));
			continue;
		}
		if (pipe2(pair, O_CLOEXEC) != 0)
			return fail(failure, errno, "process %" PRIu32 ": %s", process->id, reason(errno));
		int ours = i == HYPER_STDIN ? 1 : 0;
		(void)fcntl(pair[ours], F_SETFL, O_NONBLOCK);
		theirs[i] = pair[1 - ours];
		stream_attach(&process->streams[i], pair[ours], false);
	}
	return 0;
}

/* Of a process that has not begun yet; 0 is the one that calls. */
static void set_oom_score(pid_t pid, struct span fields)
{
	char path[48] = "/proc/self/oom_score_adj", text[16];
	struct span value;
	if (!field_find(fields, HYPER_OOM_SCORE_ADJ, &value))
		return;
	if (pid > 0)
		(void)snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
	(void)snprintf(text, sizeof text, "%" PRId32, (int32_t)get_u32(value.data));
	if (write_text_at(AT_FDCWD, path, text) != 0)
		session_log("oom_score_adj %s: %s", text, reason(errno));
}

/* Hands the request to the holder, which becomes the process. */
static int start_init(struct container *container, struct process *process, const int theirs[4], struct failure *failure)
{
	struct note note = {.kind = NOTE_START, .count = NOTE_FDS};
	note.fds[0] = note_file(process->request->fields);
	note.fds[1] = theirs[3];
	memcpy(note.fds + 2, theirs, 3 * sizeof *theirs);
	set_oom_score(container->holder, process->request->fields);
	int done = note.fds[0] < 0 ? -1 : note_send(container->socket.fd, &note);
	if (done != 0)
		(void)fail(failure, errno, "container %s: its holder does not answer: %s", container->name, reason(errno));
	close_fd(&note.fds[0]);
	if (done != 0)
		return -1;
	loop_close(&container->socket);
	process->pid = container->holder;
	container->state = CONTAINER_STARTED;
	return 0;
}

static int start_exec(struct container *container, struct process *process, const int theirs[4], struct failure *failure)
{
	process->pid = container_fork(container);
	if (process->pid == 0) {
		struct launch launch = {.fields = process->request->fields, .report = theirs[3]};
		int keep[] = {theirs[0], theirs[1], theirs[2], theirs[3], container->namespaces[0], container->namespaces[1]};
		memcpy(launch.stdio, theirs, sizeof launch.stdio);
		memcpy(launch.namespaces, container->namespaces, sizeof launch.namespaces);
		set_oom_score(0, process->request->fields);
		child_begin(keep, sizeof keep / sizeof *keep);
		launch_main(&launch);
	}
	if (process->pid < 0) /* ENOMEM is a PID namespace without an init */
		return fail(failure, errno == ENOMEM ? ESRCH : errno, "container %s: cannot start a process: %s", container->name,
		            errno == ENOMEM ? "it is not running" : reason(errno));
	return 0;
}

/* In the VM, outside any container; TOOLS names the one that has the program. */
static int start_in_vm(struct container *tools, struct process *process, const int theirs[4], struct failure *failure)
{
	process->pid = child_fork(0, -1);
	if (process->pid == 0) {
		struct launch launch = {.fields = process->request->fields, .in_vm = true, .report = theirs[3], .namespaces = {-1, -1}};
		int keep[] = {theirs[0], theirs[1], theirs[2], theirs[3], tools ? tools->namespaces[0] : theirs[0]};
		memcpy(launch.stdio, theirs, sizeof launch.stdio);
		if (tools)
			launch.namespaces[0] = tools->namespaces[0];
		set_oom_score(0, process->request->fields);
		child_begin(keep, sizeof keep / sizeof *keep);
		launch_main(&launch);
	}
	return process->pid < 0 ? fail(failure, errno, "cannot start a process: %s", reason(errno)) : 0;
}

static int may_start_in_vm(bool init, struct span wanted, const struct container *tools, struct failure *failure)
{
	if (init)
		return fail(failure, EINVAL, "a process outside any container is no container's init");
	if (wanted.length > 0 && (!tools || tools->state == CONTAINER_CREATING || tools->state > CONTAINER_STOPPED))
		return fail(failure, ENOENT, "container %.*s: there is none to take tools from", (int)wanted.length,
		            (const char *)wanted.data);
	return 0;
}

static int begin_in_vm(struct process *process, int theirs[4], struct failure *failure)
{
	struct span wanted = {NULL, 0};
	char name[HYPER_NAME_MAX + 1] = "";
	if (field_find(process->request->fields, HYPER_TOOLS, &wanted) && wanted.length > 0)
		memcpy(name, wanted.data, wanted.length);
	struct container *tools = wanted.length > 0 ? container_find(name) : NULL;
	if (may_start_in_vm(process->init, wanted, tools, failure) != 0 || open_streams(process, theirs, failure) != 0)
		return -1;
	return start_in_vm(tools, process, theirs, failure);
}

static int may_start(const struct request *request, const struct container *container, bool init, struct failure *failure)
{
	struct span tools;
	if (field_find(request->fields, HYPER_TOOLS, &tools))
		return fail(failure, EINVAL, "container %s: it has its own tools", request->container);
	if (!container)
		return fail(failure, ENOENT, "container %s: there is none", request->container);
	if (init && container->state != CONTAINER_CREATED)
		return fail(failure, EBUSY, "container %s: its init process has been started already", container->name);
	if (!init && container->state != CONTAINER_STARTED)
		return fail(failure, ESRCH, "container %s: it is not running", container->name);
	if (container->frozen)
		return fail(failure, EBUSY, "container %s: it is paused", container->name);
	return 0;
}

void op_process_start(struct request *request)
{
	struct failure failure = {0};
	struct process *process = process_find(request->process);
	struct container *container = container_find(request->container);
	int theirs[4] = {-1, -1, -1, -1};
	process->request = request;
	process->state = PROCESS_STARTING;
	process->report.ready = report_ready;
	bool started = !request->container[0]
	                   ? begin_in_vm(process, theirs, &failure) == 0
	                   : may_start(request, container, process->init, &failure) == 0 &&
	                         open_streams(process, theirs, &failure) == 0 &&
	                         (process->init ? start_init : start_exec)(container, process, theirs, &failure) == 0;
	for (int i = 0; i < 4; i++)
		close_fd(&theirs[i]);
	if (!started) {
		process->failure = failure;
		finish_start(process);
		return;
	}
	if (container)
		process->oom_kills_before = container_oom_kills(container);
	(void)loop_set(&process->report, EPOLLIN);
}

/* ---- life and end ---- */

struct process *process_named(struct request *request, bool running)
{
	struct failure failure;
	struct process *process = process_find(request->process);
	if (process && (!running || process->state == PROCESS_RUNNING))
		return process;
	(void)fail(&failure, process ? ESRCH : ENOENT, "process %" PRIu32 ": %s", request->process,
	           process ? "it has exited" : "there is none");
	request_done(request, &failure, NULL);
	return NULL;
}

void op_process_resize(struct request *request)
{
	struct failure failure;
	struct process *process = process_named(request, true);
	if (!process)
		return;
	struct winsize size = {.ws_row = (unsigned short)find_u32(request->fields, HYPER_ROWS, 0),
	                       .ws_col = (unsigned short)find_u32(request->fields, HYPER_COLUMNS, 0)};
	int master = process->terminal ? process->streams[HYPER_STDOUT].watch.fd : -1;
	if (master < 0 || ioctl(master, TIOCSWINSZ, &size) != 0) {
		(void)fail(&failure, ENOTTY, "process %" PRIu32 ": it has no terminal", process->id);
		request_done(request, &failure, NULL);
		return;
	}
	request_done(request, NULL, NULL);
}

void op_process_forget(struct request *request)
{
	struct failure failure;
	struct process *process = process_named(request, false);
	if (!process)
		return;
	if (process->state != PROCESS_EXITED) {
		(void)fail(&failure, EBUSY, "process %" PRIu32 ": it still runs", process->id);
		request_done(request, &failure, NULL);
		return;
	}
	discard(process);
	request_done(request, NULL, NULL);
}

static void describe_exit(const struct process *process, struct buffer *fields)
{
	field_u32(fields, HYPER_WAIT_STATUS, (uint32_t)process->wait_status);
	field_u64(fields, HYPER_TIME_NS, process->exited_ns);
	if (process->oom)
		field_u32(fields, HYPER_OOM, 1);
}

static void say_exited(const struct process *process)
{
	struct buffer event = {0};
	buffer_u16(&event, HYPER_EVENT_PROCESS_EXITED);
	buffer_u16(&event, 0);
	buffer_u32(&event, 0);
	field_u32(&event, HYPER_PROCESS, process->id);
	describe_exit(process, &event);
	session_message(HYPER_EVENT, 0, &event);
	buffer_free(&event);
}

static void exited(struct process *process, int wait_status)
{
	struct container *container = container_find(process->container);
	process->state = PROCESS_EXITED;
	process->wait_status = wait_status;
	process->exited_ns = (uint64_t)clock_ns(CLOCK_REALTIME);
	process->oom = container && container_oom_kills(container) > process->oom_kills_before;
	for (uint32_t i = 0; i < 3; i++) {
		if (process_stream(process->id * 4 + i))
			stream_finish(&process->streams[i]);
	}
	close_fd(&process->terminal_peer);
	signal_forget(process);
	say_exited(process);
}

bool process_reaped(pid_t pid, int wait_status)
{
	struct process *process = NULL;
	for (unsigned i = 0; i < BUCKETS && !process; i++) {
		process = buckets[i];
		while (process && !(process->pid == pid && process->state != PROCESS_EXITED))
			process = process->next;
	}
	if (!process)
		return false;
	bool init = process->init;
	struct container *container = init ? container_find(process->container) : NULL;
	if (process->state == PROCESS_STARTING) { /* what it had to say comes first */
		uint32_t id = process->id;
		while (process && take_report(process))
			continue;
		finish_start(process);
		process = process_find(id);
	}
	if (process)
		exited(process, wait_status);
	if (container)
		container_stopped(container);
	return true;
}

/* ---- what a new session is told ---- */

static void describe_stream(const struct stream *stream, struct buffer *payload)
{
	size_t begun = field_begin(payload, HYPER_STREAM_STATE);
	field_u32(payload, HYPER_STREAM, stream->number);
	field_u64(payload, HYPER_ACKED, stream->input ? stream->end : stream->acked);
	field_u64(payload, HYPER_END, stream->end);
	if (stream->eof || (stream->input && stream->dropped))
		field_u32(payload, HYPER_AT_EOF, 1);
	field_end(payload, begun);
}

static void describe(const struct process *process, struct buffer *payload)
{
	size_t begun = field_begin(payload, HYPER_PROCESS_STATE);
	field_text(payload, HYPER_CONTAINER, process->container);
	field_u32(payload, HYPER_PROCESS, process->id);
	field_u32(payload, HYPER_PID, (uint32_t)process->pid);
	if (process->init)
		field_u32(payload, HYPER_INIT, 1);
	if (process->state == PROCESS_EXITED) {
		field_u32(payload, HYPER_EXITED, 1);
		describe_exit(process, payload);
	}
	for (uint32_t i = 0; i < 3; i++) {
		if (process_stream(process->id * 4 + i))
			describe_stream(&process->streams[i], payload);
	}
	field_end(payload, begun);
}

void processes_describe(struct buffer *payload)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (const struct process *each = buckets[i]; each; each = each->next) {
			if (each->state == PROCESS_RUNNING || each->state == PROCESS_EXITED)
				describe(each, payload);
		}
	}
}

void processes_new_session(void)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct process *each = buckets[i]; each; each = each->next) {
			for (uint32_t j = 0; j < 3; j++) {
				if (process_stream(each->id * 4 + j))
					stream_new_session(&each->streams[j]);
			}
		}
	}
}
