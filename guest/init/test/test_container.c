/* Containers as PID 1 counts them: as many as a pod may have, and some more; the next is refused, and harms none. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cgroup.h"
#include "../child.h"
#include "../container.h"
#include "../device.h"
#include "../discard.h"
#include "../disk.h"
#include "../holder.h"
#include "../pids.h"
#include "../prepare.h"
#include "../session.h"
#include "../system.h"
#include "../vm.h"
#include "check.h"

static pid_t holder; /* one child stands for all */
static unsigned done, refused;
static struct failure last;
static struct work unmounting;
static struct request *destroying;

/* ---- what container.c asks of the rest ---- */

void request_done(struct request *request, const struct failure *failure, const struct buffer *fields)
{
	(void)fields;
	done += failure == NULL;
	refused += failure != NULL;
	if (failure)
		last = *failure;
	free(request);
}

struct container *container_named(struct request *request)
{
	return container_find(request->container);
}

int note_pair(int pair[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

int note_receive(int socket, struct note *note)
{
	(void)socket;
	*note = (struct note){.kind = NOTE_READY, .fds = {open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)}, .count = 1};
	CHECK(note->fds[0] >= 0);
	return 1;
}

pid_t child_fork(uint64_t namespaces, int cgroup)
{
	(void)namespaces, (void)cgroup;
	return holder;
}

int worker_start(struct request *request, const struct work *work, struct failure *failure)
{
	(void)failure;
	destroying = request;
	unmounting = *work;
	return 0;
}

int cgroup_create(const char *name, struct span fields, struct failure *failure)
{
	(void)name, (void)fields, (void)failure;
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

struct device_program *device_program(struct span fields)
{
	(void)fields;
	return malloc(1);
}

int device_confine(int group, const struct device_program *program, struct failure *failure)
{
	(void)group, (void)program, (void)failure;
	return 0;
}

uint64_t cgroup_number(int group, const char *file, const char *key, uint64_t missing)
{
	(void)group, (void)file, (void)key;
	return missing;
}

int volumes_named(struct span fields, struct volume_set *set, struct failure *failure)
{
	(void)fields, (void)set, (void)failure;
	return 0;
}

struct prepared prepared_take(const struct request *request)
{
	(void)request;
	return (struct prepared){0};
}

unsigned disk_count(void)
{
	return 2;
}

void vm_settle(void)
{
}

void cgroup_kill(int group)
{
	(void)group;
}

void cgroup_remove(const char *name)
{
	(void)name;
}

bool session_congested(void)
{
	return false;
}

/* What no test here comes to. */
#define NEVER(signature) \
	signature \
	{ \
		abort(); \
	}

NEVER(int cgroup_limit(int group __attribute__((unused)), struct span fields __attribute__((unused)),
                       struct failure *failure __attribute__((unused))))
NEVER(int cgroup_of(pid_t pid __attribute__((unused))))
NEVER(int pids_shared(struct failure *failure __attribute__((unused))))
NEVER(pid_t pids_fork(int pids __attribute__((unused)), int cgroup __attribute__((unused))))
NEVER(void holder_main(const struct request *request __attribute__((unused)), int socket __attribute__((unused))))
NEVER(int disk_discard(struct span disk __attribute__((unused)), void (*unused)(void *context) __attribute__((unused)),
                       void *context __attribute__((unused)), struct failure *failure __attribute__((unused))))
NEVER(void session_log(const char *format __attribute__((unused)), ...))
NEVER(void session_message(uint8_t type __attribute__((unused)), uint32_t session __attribute__((unused)),
                           const struct buffer *payload __attribute__((unused))))

/* ---- the test ---- */

static struct request *request_for(uint16_t operation, unsigned number)
{
	struct request *request = calloc(1, sizeof *request);
	CHECK(request);
	request->operation = operation;
	(void)snprintf(request->container, sizeof request->container, "c%u", number);
	return request;
}

static struct container *find(unsigned number)
{
	char name[16];
	(void)snprintf(name, sizeof name, "c%u", number);
	return container_find(name);
}

static void create(unsigned number)
{
	op_container_create(request_for(HYPER_OP_CONTAINER_CREATE, number));
}

static void settle(unsigned answers)
{
	for (unsigned rounds = 0; done + refused < answers && rounds < 1000; rounds++)
		loop_once(false);
	CHECK(done + refused == answers);
}

static void as_many_as_are_promised(void)
{
	for (unsigned i = 0; i < CONTAINERS_MAX; i++)
		create(i);
	settle(CONTAINERS_MAX);
	CHECK(CONTAINERS_MAX > HYPER_CONTAINERS_MAX + 1 && refused == 0);
}

static void one_more_is_refused(void)
{
	create(CONTAINERS_MAX);
	CHECK(refused == 1 && last.error == ENOSPC && strstr(last.text, "more than"));
	CHECK(find(0)->state == CONTAINER_CREATED && find(CONTAINERS_MAX - 1)->state == CONTAINER_CREATED);
	CHECK(!find(CONTAINERS_MAX));
}

static void begin_to_destroy(unsigned number)
{
	struct request *request = request_for(HYPER_OP_CONTAINER_DESTROY, number);
	struct container *container = container_find(request->container);
	op_container_destroy(request);
	container_stopped(container);
	CHECK(container->state == CONTAINER_UNMOUNTING && destroying == request);
}

static void finish_destroying(void)
{
	unmounting.finished(unmounting.context, 0);
	request_done(destroying, NULL, NULL);
}

static void one_that_goes_makes_room(void)
{
	begin_to_destroy(7);
	create(CONTAINERS_MAX); /* while its disk is synced it still counts */
	CHECK(refused == 2 && last.error == ENOSPC);
	finish_destroying();
	create(CONTAINERS_MAX);
	settle(CONTAINERS_MAX + 4);
	CHECK(refused == 2 && !find(7) && find(CONTAINERS_MAX));
}

static void all_of_them_go(void)
{
	for (unsigned i = 0; i <= CONTAINERS_MAX; i++) {
		if (!find(i))
			continue;
		begin_to_destroy(i);
		finish_destroying();
	}
	CHECK(!containers_any());
}

int main(void)
{
	struct rlimit files;
	CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
	files.rlim_cur = files.rlim_max;
	CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0 && loop_init() == 0);
	holder = fork();
	if (holder == 0) {
		(void)pause();
		_exit(0);
	}
	RUN(as_many_as_are_promised);
	RUN(one_more_is_refused);
	RUN(one_that_goes_makes_room);
	RUN(all_of_them_go);
	CHECK(kill(holder, SIGKILL) == 0 && waitpid(holder, NULL, 0) == holder);
	return 0;
}
