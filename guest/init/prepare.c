/* PREPARE: the last request of a template's own life. */
#include "prepare.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "child.h"
#include "container.h"
#include "device.h"
#include "disk.h"
#include "holder.h"
#include "loop.h"
#include "name.h"
#include "net.h"
#include "operations.h"
#include "pids.h"
#include "session.h"
#include "skeleton.h"
#include "system.h"
#include "vm.h"
#include "volume.h"

#define FLUSH_MS 2000
/* The kernel puts work off too (it looks for pages to give back after two seconds, or finds the clock's exact rate),
 * and every clone would have to do what is left of it. */
#define QUIET_MS 2500

/* As many containers as many a pod has, where the guest has the memory: all of them take no more than a share of what
 * is free.  What is not used is never touched in a clone, so it costs the host none. */
#define AHEAD 10
#define SHARE_OF_FREE 8

/* Of those with a PID namespace of their own, and of those that share the pod's: by HYPER_PID_MODE. */
struct stock {
	struct prepared made[AHEAD];
	unsigned count;
};

static struct request *preparing;
static struct watch said; /* the holder says when it is ready */
static struct deadline quiet;
static struct stock stocks[2];
static struct stock *filling;
static uint64_t least_free; /* bytes to leave */
static uint8_t *planned; /* PREPARE's fields */
static size_t planned_length;

static void drop_last(struct stock *stock)
{
	struct prepared *last = &stock->made[--stock->count];
	if (last->holder > 0 && kill(last->holder, SIGKILL) == 0)
		(void)waitpid(last->holder, NULL, 0);
	close_fd(&last->socket);
	close_fd(&last->cgroup);
	cgroup_remove(last->group);
}

static void give_up(void)
{
	for (size_t i = 0; i < sizeof stocks / sizeof *stocks; i++) {
		while (stocks[i].count > 0)
			drop_last(&stocks[i]);
	}
	free(planned);
	planned = NULL;
}

static void finish(const struct failure *failure)
{
	struct request *request = preparing;
	preparing = NULL;
	if (failure)
		give_up();
	request_done(request, failure, NULL);
	session_flush(FLUSH_MS);
	session_end();
}

static void quiet_now(struct deadline *deadline)
{
	(void)deadline;
	finish(NULL);
}

static uint64_t free_bytes(void)
{
	struct sysinfo info;
	return sysinfo(&info) == 0 ? (uint64_t)info.freeram * info.mem_unit : 0;
}

static int make_holder(const struct request *request, struct failure *failure);

static bool is_last(void)
{
	return (filling == stocks + 1 && filling->count == AHEAD) || free_bytes() < least_free;
}

static void holder_said(struct watch *watch, uint32_t events)
{
	struct note note = {0};
	int got = note_receive(watch->fd, &note);
	(void)events;
	if (got < 0 && errno == EAGAIN)
		return;
	loop_forget(watch);
	if (got == 1 && note.kind == NOTE_READY) {
		if (is_last()) {
			quiet.expired = quiet_now;
			loop_arm(&quiet, vm_tidy() ? QUIET_MS : 0);
			return;
		}
		if (filling->count == AHEAD)
			filling++;
		if (make_holder(preparing, &note.failure) == 0)
			return;
	}
	if (got != 1)
		(void)fail(&note.failure, EIO, "what prepared the container was killed");
	finish(&note.failure);
}

static int make_holder(const struct request *request, struct failure *failure)
{
	int pair[2], shared = filling == stocks ? 0 : pids_shared(failure);
	struct prepared *next = &filling->made[filling->count];
	if (shared < 0)
		return -1;
	*next = (struct prepared){.socket = -1, .cgroup = -1};
	(void)snprintf(next->group, sizeof next->group, "+%u", (unsigned)(filling - stocks) * AHEAD + filling->count++);
	next->cgroup = cgroup_create(next->group, (struct span){NULL, 0}, failure);
	if (next->cgroup < 0)
		return -1;
	if (note_pair(pair) != 0)
		return fail(failure, errno, "%s", reason(errno));
	next->socket = pair[0];
	next->holder = shared ? pids_fork(shared, next->cgroup) : child_fork(CLONE_NEWPID, next->cgroup);
	if (next->holder == 0)
		prepared_holder_main(request, pair[1]);
	(void)close(pair[1]);
	if (next->holder < 0)
		return fail(failure, errno, "cannot fork: %s", reason(errno));
	said = (struct watch){.fd = next->socket, .ready = holder_said};
	return loop_set(&said, EPOLLIN);
}

/* What every one of them would do anew. */
static int keep_plan(struct span fields, struct failure *failure)
{
	planned_length = fields.length;
	planned = malloc(planned_length + 1);
	struct device_program *program = device_program(fields);
	struct failure ignored; /* said when a container is to be confined */
	if (!planned || !program) {
		free(program);
		return fail(failure, ENOMEM, "no memory");
	}
	memcpy(planned, fields.data, planned_length);
	(void)device_load(program, &ignored);
	free(program);
	return 0;
}

static int prepare(const struct request *request, struct failure *failure)
{
	struct span rest = request->fields, each;
	while (field_each(&rest, HYPER_INTERFACE, &each)) {
		if (net_configure(each, failure) != 0)
			return -1;
	}
	disks_forget();
	if (volumes_begin(failure) != 0 || keep_plan(request->fields, failure) != 0)
		return -1;
	if (find_flag(request->fields, HYPER_RELEASE_DISKS) && disks_release(failure) != 0)
		return -1;
	return make_holder(request, failure);
}

void op_prepare(struct request *request)
{
	struct failure failure = {0};
	if (containers_any()) {
		(void)fail(&failure, EBUSY, "a VM that has containers cannot become a template");
		request_done(request, &failure, NULL);
		return;
	}
	give_up();
	preparing = request;
	filling = stocks;
	vm_settle();
	least_free = free_bytes() / SHARE_OF_FREE * (SHARE_OF_FREE - 1);
	if (prepare(request, &failure) != 0)
		finish(&failure);
}

/* The note and the fields for the holder; false where it is not there any more. */
static bool tell(const struct prepared *holder, const struct request *request)
{
	struct note note = {.kind = NOTE_CREATE, .count = 1};
	note.fds[0] = note_file(request->fields);
	bool told = note.fds[0] >= 0 && note_send(holder->socket, &note) == 0;
	close_fd(&note.fds[0]);
	return told;
}

struct prepared prepared_take(const struct request *request)
{
	struct prepared none = {.socket = -1, .cgroup = -1};
	uint32_t mode = find_u32(request->fields, HYPER_PID_MODE, 0);
	if (mode >= sizeof stocks / sizeof *stocks || stocks[mode].count == 0 ||
	    !skeleton_fits((struct span){planned, planned_length}, request->fields))
		return none;
	struct stock *stock = &stocks[mode];
	if (tell(&stock->made[stock->count - 1], request))
		return stock->made[--stock->count];
	drop_last(stock);
	return none;
}
