#include "container.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "cgroup.h"
#include "child.h"
#include "device.h"
#include "discard.h"
#include "disk.h"
#include "holder.h"
#include "pids.h"
#include "prepare.h"
#include "process.h"
#include "session.h"
#include "system.h"
#include "vm.h"

#define CREATE_MS 20000
#define COPY_MS 300000 /* where an image's files are copied into a volume */
#define EMPTY_MS 10000
#define UNMOUNT_MS 120000
#define FREEZE_MS 10000

static struct container *containers;
static unsigned count;

struct container *container_find(const char *name)
{
	struct container *each = containers;
	while (each && strcmp(each->name, name) != 0)
		each = each->next;
	return each;
}

static void answer(struct container *container, const struct failure *failure)
{
	struct request *request = container->pending;
	container->pending = NULL;
	loop_disarm(&container->deadline);
	if (request)
		request_done(request, failure, NULL);
}

/* Its mounts go with the last of these. */
static void close_mounts(void *context)
{
	struct container *container = context;
	close_fd(&container->root);
	for (int i = 0; i < 3; i++)
		close_fd(&container->namespaces[i]);
}

static void forget(struct container *container)
{
	struct container **at = &containers;
	while (*at != container)
		at = &(*at)->next;
	*at = container->next;
	loop_disarm(&container->deadline);
	loop_close(&container->socket);
	loop_close(&container->events);
	loop_close(&container->memory);
	close_mounts(container);
	free(container->devices);
	free(container->upper);
	close_fd(&container->cgroup);
	cgroup_remove(container->group);
	free(container);
	count--;
}

/* ---- create ---- */

pid_t container_fork(struct container *container)
{
	pid_t pid = pids_fork(container->namespaces[2], container->cgroup);
	if (pid >= 0 || errno != EBUSY || container->holder <= 0)
		return pid;
	/* An init like systemd's has handed controllers down, and the group itself takes no process any more. */
	int group = cgroup_of(container->holder);
	pid = group < 0 ? -1 : pids_fork(container->namespaces[2], group);
	int error = errno;
	close_fd(&group);
	errno = error;
	return pid;
}

static int open_namespaces(struct container *container)
{
	static const char *const names[] = {"mnt", "cgroup", "pid"};
	char path[48];
	for (int i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof path, "/proc/%d/ns/%s", container->holder, names[i]);
		container->namespaces[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (container->namespaces[i] < 0)
			return -1;
	}
	return 0;
}

static void confine(struct container *container)
{
	struct failure failure;
	if (container->devices && device_confine(container->cgroup, container->devices, &failure) != 0)
		session_log("container %s: %s", container->name, failure.text);
	free(container->devices);
	container->devices = NULL;
}

/*
 * Keeps a container from other containers' disks.  It costs tens of milliseconds of an emulated processor, so it is
 * put off while all disks of the VM are the container's own, until another container comes.  Not before the mounts,
 * because the holder is in the cgroup too.
 */
static void confine_if_needed(struct container *container)
{
	struct span rest = container->pending->fields, each, serial;
	unsigned own = 1 + field_find(rest, HYPER_UPPER, &each);
	while (field_each(&rest, HYPER_MOUNT, &each))
		own += field_find(each, HYPER_SERIAL, &serial);
	if (count > 1 || disk_count() > own)
		confine(container);
}

/* The holder speaks while it mounts; later only its end is of interest, and that comes as SIGCHLD. */
static void holder_ready(struct watch *watch, uint32_t events)
{
	struct container *container = container_of(watch, struct container, socket);
	struct note note;
	int got = note_receive(watch->fd, &note);
	(void)events;
	if (got < 0 && errno == EAGAIN)
		return;
	(void)loop_set(watch, 0);
	if (got != 1)
		return;
	if (note.kind == NOTE_READY && note.count == 1) {
		container->root = note.fds[0];
		if (open_namespaces(container) == 0) {
			confine_if_needed(container);
			container->state = CONTAINER_CREATED;
			answer(container, NULL);
			return;
		}
		(void)fail(&note.failure, errno, "container %s: its namespaces are gone: %s", container->name, reason(errno));
	}
	(void)kill(container->holder, SIGKILL);
	container->failure = note.failure; /* answered when it is gone, and its mounts with it */
}

static void late(struct deadline *deadline)
{
	struct container *container = container_of(deadline, struct container, deadline);
	(void)fail(&container->failure, ETIMEDOUT, "container %s: it took too long", container->name);
	if (container->state == CONTAINER_CREATING) {
		(void)kill(container->holder, SIGKILL);
		return;
	}
	if (container->state == CONTAINER_EMPTYING)
		container->state = CONTAINER_STOPPED;
	answer(container, &container->failure);
}

static void watch_cgroup(struct container *container);

static int begin(struct container *container, struct request *request, struct failure *failure)
{
	int pair[2];
	container->shared_pids = find_u32(request->fields, HYPER_PID_MODE, 0) == 1;
	int pids = container->shared_pids ? pids_shared(failure) : -1;
	if (container->shared_pids && pids < 0)
		return -1;
	if (note_pair(pair) != 0)
		return fail(failure, errno, "container %s: %s", container->name, reason(errno));
	container->holder = pids >= 0 ? pids_fork(pids, container->cgroup) : child_fork(CLONE_NEWPID, container->cgroup);
	if (container->holder == 0)
		holder_main(request, pair[1]);
	int error = errno;
	(void)close(pair[1]);
	container->socket.fd = pair[0];
	container->socket.ready = holder_ready;
	if (container->holder < 0)
		return fail(failure, error, "container %s: cannot fork: %s", container->name, reason(error));
	return 0;
}

static void take_prepared(struct container *container, const struct request *request)
{
	struct prepared taken = prepared_take(request);
	memcpy(container->group, container->name, sizeof container->name);
	if (taken.holder <= 0)
		return;
	memcpy(container->group, taken.group, sizeof taken.group);
	container->shared_pids = find_u32(request->fields, HYPER_PID_MODE, 0) == 1;
	container->holder = taken.holder;
	container->cgroup = taken.cgroup;
	container->socket.fd = taken.socket;
	container->socket.ready = holder_ready;
}

static int prepare(struct container *container, struct span fields, struct failure *failure)
{
	struct span upper;
	if (volumes_named(fields, &container->volumes, failure) != 0)
		return -1;
	if (field_find(fields, HYPER_UPPER, &upper)) {
		container->upper = malloc(upper.length);
		if (!container->upper)
			return fail(failure, ENOMEM, "container %s: no memory", container->name);
		memcpy(container->upper, upper.data, upper.length);
		container->upper_length = upper.length;
	}
	if (!find_flag(fields, HYPER_PRIVILEGED) && !(container->devices = device_program(fields)))
		return fail(failure, ENOMEM, "container %s: no memory", container->name);
	if (container->cgroup >= 0) /* made ahead */
		return cgroup_limit(container->cgroup, fields, failure);
	container->cgroup = cgroup_create(container->name, fields, failure);
	return container->cgroup < 0 ? -1 : 0;
}

static int creation_ms(struct span fields)
{
	struct span each;
	while (field_each(&fields, HYPER_MOUNT, &each)) {
		if (find_flag(each, HYPER_COPY_UP))
			return COPY_MS;
	}
	return CREATE_MS;
}

void op_container_create(struct request *request)
{
	struct failure failure = {0};
	struct container *container = NULL;
	vm_settle();
	if (container_find(request->container))
		(void)fail(&failure, EEXIST, "container %s: there is one already", request->container);
	else if (count >= CONTAINERS_MAX)
		(void)fail(&failure, ENOSPC, "container %s: more than %d in one VM", request->container, CONTAINERS_MAX);
	else if (!(container = calloc(1, sizeof *container)))
		(void)fail(&failure, ENOMEM, "container %s: no memory", request->container);
	if (!container) {
		request_done(request, &failure, NULL);
		return;
	}
	*container = (struct container){.namespaces = {-1, -1, -1}, .root = -1, .cgroup = -1, .socket = {.fd = -1}, .events = {.fd = -1},
	                                .memory = {.fd = -1}, .deadline = {.expired = late}, .next = containers};
	containers = container;
	count++;
	memcpy(container->name, request->container, sizeof container->name);
	for (struct container *each = container->next; each; each = each->next) {
		if (each->state != CONTAINER_CREATING) /* one that still mounts will see that it is not alone */
			confine(each);
	}
	take_prepared(container, request);
	if (prepare(container, request->fields, &failure) != 0 ||
	    (container->holder == 0 && begin(container, request, &failure) != 0)) {
		if (container->holder > 0 && kill(container->holder, SIGKILL) == 0)
			(void)waitpid(container->holder, NULL, 0);
		forget(container);
		request_done(request, &failure, NULL);
		return;
	}
	container->pending = request;
	watch_cgroup(container);
	(void)loop_set(&container->socket, EPOLLIN);
	loop_arm(&container->deadline, creation_ms(request->fields));
}

bool container_reaped(pid_t pid)
{
	struct container *container = containers;
	while (container && container->holder != pid)
		container = container->next;
	if (!container)
		return false;
	if (container->state == CONTAINER_CREATING && container->socket.added)
		holder_ready(&container->socket, EPOLLIN); /* its last words */
	if (container->state == CONTAINER_CREATING) {
		struct request *request = container->pending;
		struct failure failure = container->failure;
		if (!failure.error)
			(void)fail(&failure, EIO, "container %s: what made it was killed", container->name);
		forget(container);
		request_done(request, &failure, NULL);
		return true;
	}
	container_stopped(container);
	return true;
}

/* ---- the cgroup's events ---- */

static bool is_empty(struct container *container)
{
	return container->holder == 0 && cgroup_number(container->cgroup, "cgroup.events", "populated", 0) == 0;
}

static int work_unmount(const struct request *request, void *context, struct buffer *fields, struct failure *failure)
{
	struct container *container = context;
	struct span upper = {container->upper, container->upper_length}, directory;
	(void)fields;
	if (find_flag(request->fields, HYPER_DISCARD) && field_find(upper, HYPER_DIRECTORY, &directory) && directory.length > 0)
		return disk_discard(upper, close_mounts, container, failure);
	int done = syncfs(container->root);
	if (done != 0)
		(void)fail(failure, errno, "container %s: cannot sync its disk: %s", container->name, reason(errno));
	/* PID 1 has let go by now, so the file systems are unmounted when this returns. */
	close_mounts(container);
	return done;
}

static void unmounted(void *context, int error)
{
	struct container *container = context;
	(void)error;
	container->pending = NULL;
	forget(container);
}

static void unmount(struct container *container)
{
	struct failure failure = {0};
	container->state = CONTAINER_UNMOUNTING;
	loop_disarm(&container->deadline);
	struct work work = {.work = work_unmount, .finished = unmounted, .context = container, .limit_ms = UNMOUNT_MS,
	                    .keep = {container->root}, .keep_count = 4};
	memcpy(work.keep + 1, container->namespaces, sizeof container->namespaces);
	if (container->root < 0 || worker_start(container->pending, &work, &failure) != 0) {
		struct request *request = container->pending;
		forget(container);
		request_done(request, failure.error ? &failure : NULL, NULL);
		return;
	}
	close_mounts(container);
}

static void changed(struct container *container)
{
	if (container->state == CONTAINER_EMPTYING) {
		if (is_empty(container))
			unmount(container);
		return;
	}
	if (!container->pending || container->pending->operation != HYPER_OP_CONTAINER_FREEZE)
		return;
	bool wanted = find_flag(container->pending->fields, HYPER_FROZEN);
	if ((cgroup_number(container->cgroup, "cgroup.events", "frozen", 0) == 1) == wanted) {
		container->frozen = wanted;
		answer(container, NULL);
	}
}

static void events_ready(struct watch *watch, uint32_t events)
{
	char text[256];
	(void)events;
	/* Read through this descriptor: that arms its notification again. */
	(void)pread(watch->fd, text, sizeof text, 0);
	changed(container_of(watch, struct container, events));
}

uint64_t container_oom_kills(struct container *container)
{
	uint64_t kills = cgroup_number(container->cgroup, "memory.events", "oom_kill", 0);
	if (kills > container->oom_kills) {
		struct buffer event = {0};
		container->oom_kills = kills;
		if (session_congested()) /* a container can have any number of these, and nobody may be there to take them */
			return kills;
		buffer_u16(&event, HYPER_EVENT_OOM);
		buffer_u16(&event, 0);
		buffer_u32(&event, 0);
		field_text(&event, HYPER_CONTAINER, container->name);
		session_message(HYPER_EVENT, 0, &event);
		buffer_free(&event);
	}
	return kills;
}

static void memory_ready(struct watch *watch, uint32_t events)
{
	char text[512];
	(void)events;
	(void)pread(watch->fd, text, sizeof text, 0);
	(void)container_oom_kills(container_of(watch, struct container, memory));
}

static void watch_file(struct watch *watch, int group, const char *name, void (*ready)(struct watch *, uint32_t))
{
	char text[512];
	watch->fd = openat(group, name, O_RDONLY | O_CLOEXEC);
	watch->ready = ready;
	if (watch->fd < 0)
		return;
	(void)pread(watch->fd, text, sizeof text, 0);
	(void)loop_set(watch, EPOLLPRI | EPOLLET);
}

static void watch_cgroup(struct container *container)
{
	watch_file(&container->events, container->cgroup, "cgroup.events", events_ready);
	watch_file(&container->memory, container->cgroup, "memory.events", memory_ready);
}

/* ---- the rest of its life ---- */

void container_stopped(struct container *container)
{
	container->holder = 0;
	if (container->state == CONTAINER_CREATED || container->state == CONTAINER_STARTED)
		container->state = CONTAINER_STOPPED;
	if (container->shared_pids) /* an own PID namespace dies with its init */
		cgroup_kill(container->cgroup);
	changed(container);
}

void op_container_destroy(struct request *request)
{
	struct container *container = container_named(request);
	if (!container)
		return;
	container->pending = request;
	container->state = CONTAINER_EMPTYING;
	loop_arm(&container->deadline, EMPTY_MS);
	cgroup_kill(container->cgroup);
	changed(container);
}

void op_container_freeze(struct request *request)
{
	struct failure failure;
	struct container *container = container_named(request);
	if (!container)
		return;
	if (write_text_at(container->cgroup, "cgroup.freeze", find_flag(request->fields, HYPER_FROZEN) ? "1" : "0") != 0) {
		(void)fail(&failure, errno, "container %s: cannot freeze: %s", container->name, reason(errno));
		request_done(request, &failure, NULL);
		return;
	}
	container->pending = request;
	loop_arm(&container->deadline, FREEZE_MS);
	changed(container);
}

void containers_describe(struct buffer *payload)
{
	for (struct container *each = containers; each; each = each->next)
		field_text(payload, HYPER_CONTAINER, each->name);
}

void containers_kill(void)
{
	for (struct container *each = containers; each; each = each->next)
		cgroup_kill(each->cgroup);
}

bool containers_any(void)
{
	return containers != NULL;
}

bool containers_use(unsigned volume)
{
	const struct container *each = containers;
	while (each && !(each->volumes.bits[volume / 64] >> volume % 64 & 1))
		each = each->next;
	return each != NULL;
}

bool containers_running(void)
{
	const struct container *each = containers;
	while (each && each->state != CONTAINER_STARTED)
		each = each->next;
	return each != NULL;
}

bool containers_mounted(void)
{
	for (struct container *each = containers; each; each = each->next)
		close_fd(&each->root); /* would pin what is to be unmounted */
	return containers != NULL;
}

void containers_unmount(void)
{
	int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	for (struct container *each = containers; each; each = each->next) {
		if (setns(each->namespaces[0], CLONE_NEWNS) == 0)
			(void)umount2("/", MNT_DETACH);
	}
	(void)setns(home, CLONE_NEWNS); /* lets go of the last */
}
