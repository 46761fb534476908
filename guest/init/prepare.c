/* PREPARE: the last request of a template's own life. */
#include "prepare.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "child.h"
#include "container.h"
#include "disk.h"
#include "holder.h"
#include "loop.h"
#include "net.h"
#include "operations.h"
#include "session.h"
#include "skeleton.h"
#include "system.h"
#include "vm.h"

#define FLUSH_MS 2000
/* The kernel puts work off too (it looks for pages to give back after two seconds, or finds the clock's exact rate),
 * and every clone would have to do what is left of it. */
#define QUIET_MS 2500

static struct request *preparing;
static struct watch said; /* the holder says when it is ready */
static struct deadline quiet;
static const struct prepared nothing = {.socket = -1, .cgroup = -1};
static struct prepared made = {.socket = -1, .cgroup = -1};
static uint8_t *planned; /* PREPARE's fields, as long as there is a holder */
static size_t planned_length;

/* Of what is somebody else's now, or gone. */
static void let_go(void)
{
	made = nothing;
	free(planned);
	planned = NULL;
}

static void give_up(void)
{
	if (made.holder > 0) {
		(void)kill(made.holder, SIGKILL);
		(void)waitpid(made.holder, NULL, 0);
	}
	close_fd(&made.socket);
	close_fd(&made.cgroup);
	cgroup_remove(PREPARED_GROUP);
	let_go();
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

static void holder_said(struct watch *watch, uint32_t events)
{
	struct note note = {0};
	int got = note_receive(watch->fd, &note);
	(void)events;
	if (got < 0 && errno == EAGAIN)
		return;
	loop_forget(watch);
	if (got == 1 && note.kind == NOTE_READY) {
		quiet.expired = quiet_now;
		loop_arm(&quiet, vm_tidy() ? QUIET_MS : 0);
		return;
	}
	if (got != 1)
		(void)fail(&note.failure, EIO, "what prepared the container was killed");
	finish(&note.failure);
}

static int make_holder(const struct request *request, struct failure *failure)
{
	int pair[2];
	struct span none = {NULL, 0};
	planned_length = request->fields.length;
	planned = malloc(planned_length + 1);
	made.cgroup = planned ? cgroup_create(PREPARED_GROUP, none, failure) : fail(failure, ENOMEM, "no memory");
	if (made.cgroup < 0)
		return -1;
	memcpy(planned, request->fields.data, planned_length);
	if (note_pair(pair) != 0)
		return fail(failure, errno, "%s", reason(errno));
	made.socket = pair[0];
	made.holder = child_fork(CLONE_NEWPID, made.cgroup);
	if (made.holder == 0)
		prepared_holder_main(request, pair[1]);
	(void)close(pair[1]);
	if (made.holder < 0)
		return fail(failure, errno, "cannot fork: %s", reason(errno));
	said = (struct watch){.fd = made.socket, .ready = holder_said};
	return loop_set(&said, EPOLLIN);
}

static int prepare(const struct request *request, struct failure *failure)
{
	struct span rest = request->fields, each;
	while (field_each(&rest, HYPER_INTERFACE, &each)) {
		if (net_configure(each, failure) != 0)
			return -1;
	}
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
	vm_settle();
	if (prepare(request, &failure) != 0)
		finish(&failure);
}

/* The note and the fields for the holder; false where it is not there any more. */
static bool tell(const struct request *request)
{
	struct note note = {.kind = NOTE_CREATE, .count = 1};
	note.fds[0] = note_file(request->fields);
	bool told = note.fds[0] >= 0 && note_send(made.socket, &note) == 0;
	close_fd(&note.fds[0]);
	return told;
}

struct prepared prepared_take(const struct request *request)
{
	if (made.holder > 0 && skeleton_fits((struct span){planned, planned_length}, request->fields) && tell(request)) {
		struct prepared taken = made;
		let_go();
		return taken;
	}
	if (made.holder > 0)
		give_up();
	return nothing;
}
