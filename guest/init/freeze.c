#include "freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "child.h"
#include "loop.h"
#include "schema.h"
#include "volume.h"

#define FREEZE_MS 20000 /* to write back what is to be written */
#define FROZEN_MAX 32
#define LIMIT_MAX_MS 60000

struct freeze {
	int root; /* of the volume; -1: this place is free */
	char name[HYPER_NAME_MAX + 1];
	int limit_ms;
	struct deadline over;
};

static struct freeze freezes[FROZEN_MAX];

static struct freeze *find(struct span name)
{
	for (struct freeze *each = freezes; each < freezes + FROZEN_MAX; each++) {
		if (each->name[0] && span_is(name, each->name))
			return each;
	}
	return NULL;
}

static void forget(struct freeze *freeze)
{
	loop_disarm(&freeze->over);
	close_fd(&freeze->root);
	freeze->name[0] = '\0';
}

/* In a child: it writes to the disk. */
static void thaw_in_child(struct freeze *freeze)
{
	pid_t pid = child_fork(0, -1);
	if (pid == 0) {
		(void)ioctl(freeze->root, (int)FITHAW, 0);
		_exit(0);
	}
	if (pid < 0)
		(void)ioctl(freeze->root, (int)FITHAW, 0);
	forget(freeze);
}

static void time_is_over(struct deadline *deadline)
{
	struct freeze *freeze = container_of(deadline, struct freeze, over);
	log_line("volume %s: it was not let go on in time, and goes on", freeze->name);
	thaw_in_child(freeze);
}

void freezes_end(void)
{
	for (struct freeze *each = freezes; each < freezes + FROZEN_MAX; each++) {
		if (each->name[0])
			thaw_in_child(each);
	}
}

static int work_freeze(const struct request *request, void *context, struct buffer *fields, struct failure *failure)
{
	const struct freeze *freeze = context;
	int what = find_flag(request->fields, HYPER_FROZEN) ? (int)FIFREEZE : (int)FITHAW;
	(void)fields;
	if (ioctl(freeze->root, what, 0) == 0)
		return 0;
	return fail(failure, errno, "volume %s: it does not stand still: %s", freeze->name, reason(errno));
}

static void done_freeze(void *context, int error)
{
	struct freeze *freeze = context;
	if (error) {
		thaw_in_child(freeze); /* it may be frozen all the same, where the worker was killed */
		return;
	}
	freeze->over.expired = time_is_over;
	loop_arm(&freeze->over, freeze->limit_ms);
}

static void done_thaw(void *context, int error)
{
	if (error == 0)
		forget(context);
	else
		thaw_in_child(context);
}

static struct freeze *claim(struct span name, struct failure *failure)
{
	struct freeze *freeze = freezes;
	while (freeze < freezes + FROZEN_MAX && freeze->name[0])
		freeze++;
	if (freeze == freezes + FROZEN_MAX) {
		(void)fail(failure, ENOSPC, "more than %d volumes stand still", FROZEN_MAX);
		return NULL;
	}
	freeze->root = volume_open(name, failure);
	if (freeze->root < 0)
		return NULL;
	memcpy(freeze->name, name.data, name.length);
	freeze->name[name.length] = '\0';
	return freeze;
}

static void start(struct request *request, struct freeze *freeze, bool frozen, struct failure *failure)
{
	struct work work = {.work = work_freeze,
	                    .finished = frozen ? done_freeze : done_thaw,
	                    .context = freeze,
	                    .limit_ms = FREEZE_MS,
	                    .keep = {freeze->root},
	                    .keep_count = 1};
	if (worker_start(request, &work, failure) == 0)
		return;
	thaw_in_child(freeze);
	request_done(request, failure, NULL);
}

/* Of one volume at a time there is one (request.c). */
void op_volume_freeze(struct request *request)
{
	struct failure failure = {0};
	struct span name;
	(void)field_find(request->fields, HYPER_NAME, &name);
	bool frozen = find_flag(request->fields, HYPER_FROZEN);
	uint32_t limit_ms = find_u32(request->fields, HYPER_LIMIT_MS, 0);
	struct freeze *freeze = find(name);
	if (frozen && (limit_ms < 1 || limit_ms > LIMIT_MAX_MS)) {
		(void)fail(&failure, EINVAL, "a volume stands still for 1 to %d ms", LIMIT_MAX_MS);
	} else if (freeze && frozen) {
		(void)fail(&failure, EBUSY, "volume %s: it stands still already", freeze->name);
	} else if (!freeze && !frozen) {
		(void)fail(&failure, ESTALE, "volume %.*s: it stands still no more", (int)name.length, (const char *)name.data);
	} else if (freeze || (freeze = claim(name, &failure))) {
		freeze->limit_ms = (int)limit_ms;
		loop_disarm(&freeze->over);
		start(request, freeze, frozen, &failure);
		return;
	}
	request_done(request, &failure, NULL);
}
