/* CONTAINER_PROCESSES, in a worker: a container may have thousands, and any of them may go while it is looked at. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "child.h"
#include "container.h"
#include "operations.h"

#define TASKS_MS 20000
#define TASKS_MAX 32768
#define COMMAND_MAX 4096

struct listing {
	struct buffer *fields;
	unsigned count;
};

/* "Name:\t1\t2\t3": the number `last` in the line, or the first. */
static uint32_t status_number(const char *status, const char *name, bool last)
{
	const char *at = strstr(status, name);
	if (!at)
		return 0;
	at += strlen(name);
	char *end;
	unsigned long value = strtoul(at, &end, 10);
	while (last && *end == '\t')
		value = strtoul(end, &end, 10);
	return (uint32_t)value;
}

static void put_command(struct buffer *fields, const char *directory, const char *comm, size_t comm_length)
{
	char path[64], text[COMMAND_MAX + 1];
	(void)snprintf(path, sizeof path, "%s/cmdline", directory);
	ssize_t length = read_text_at(AT_FDCWD, path, text, sizeof text);
	while (length > 0 && text[length - 1] == '\0')
		length--;
	for (ssize_t i = 0; i < length; i++) {
		if (text[i] == '\0')
			text[i] = ' ';
	}
	if (length <= 0)
		length = snprintf(text, sizeof text, "[%.*s]", (int)comm_length, comm);
	field_bytes(fields, HYPER_COMMAND, text, (size_t)length);
}

/* After the name in /proc/PID/stat, which may have anything in it but ends at the last ')'. */
static bool put_stat(struct buffer *fields, const char *after)
{
	char state[2] = "?", terminal[24] = "?";
	int parent, device;
	unsigned long long user, system, start, virtual;
	unsigned threads;
	long resident;
	uint64_t tick_ns = 1000000000 / (uint64_t)sysconf(_SC_CLK_TCK);
	if (sscanf(after, " %1s %d %*d %*d %d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %u %*d %llu %llu %ld", state,
	           &parent, &device, &user, &system, &threads, &start, &virtual, &resident) != 9)
		return false;
	if ((device >> 8 & 0xfff) >= 136 && (device >> 8 & 0xfff) <= 143)
		(void)snprintf(terminal, sizeof terminal, "pts/%d", (device & 0xff) | (device >> 12 & 0xfff00));
	field_u32(fields, HYPER_PARENT, (uint32_t)parent);
	field_u64(fields, HYPER_START_NS, start * tick_ns);
	field_u64(fields, HYPER_CPU_NS, (user + system) * tick_ns);
	field_u64(fields, HYPER_RSS_BYTES, (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE));
	field_u64(fields, HYPER_VIRTUAL_BYTES, virtual);
	field_u32(fields, HYPER_THREADS, threads);
	field_text(fields, HYPER_STATE, state);
	field_text(fields, HYPER_TERMINAL, terminal);
	return true;
}

static int put_task(pid_t pid, void *context)
{
	struct listing *listing = context;
	char directory[32], path[64], stat[1024], status[4096];
	(void)snprintf(directory, sizeof directory, "/proc/%d", pid);
	(void)snprintf(path, sizeof path, "%s/stat", directory);
	if (read_text_at(AT_FDCWD, path, stat, sizeof stat) <= 0)
		return 0;
	(void)snprintf(path, sizeof path, "%s/status", directory);
	if (read_text_at(AT_FDCWD, path, status, sizeof status) <= 0)
		return 0;
	char *open = strchr(stat, '('), *end = strrchr(stat, ')');
	if (!open || !end)
		return 0;
	size_t before = listing->fields->length, begun = field_begin(listing->fields, HYPER_TASK);
	if (!put_stat(listing->fields, end + 1)) {
		listing->fields->length = before;
		return 0;
	}
	field_u32(listing->fields, HYPER_PID, (uint32_t)pid);
	field_u32(listing->fields, HYPER_CONTAINER_PID, status_number(status, "\nNSpid:", true));
	field_u32(listing->fields, HYPER_UID, status_number(status, "\nUid:\t", false));
	field_bytes(listing->fields, HYPER_COMM, open + 1, (size_t)(end - open - 1));
	put_command(listing->fields, directory, open + 1, (size_t)(end - open - 1));
	field_end(listing->fields, begun);
	return ++listing->count >= TASKS_MAX;
}

static int list_tasks(const struct request *request, void *context, struct buffer *fields, struct failure *failure)
{
	struct container *container = context;
	struct listing listing = {fields, 0};
	(void)request;
	(void)failure;
	(void)cgroup_each(container->cgroup, put_task, &listing);
	return 0;
}

void op_container_processes(struct request *request)
{
	struct failure failure;
	struct container *container = container_find(request->container);
	if (!container) {
		(void)fail(&failure, ENOENT, "container %s: there is none", request->container);
		request_done(request, &failure, NULL);
		return;
	}
	struct work work = {.work = list_tasks, .context = container, .limit_ms = TASKS_MS,
	                    .keep = {container->cgroup}, .keep_count = 1};
	if (worker_start(request, &work, &failure) != 0)
		request_done(request, &failure, NULL);
}
