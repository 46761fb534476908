/*
 * Containers, as PID 1 keeps them: a name, a cgroup, namespaces, and the child that made the root and waits to become
 * the container's init (holder.h).  PID 1 holds the namespaces by descriptors, so that what the container mounted
 * lives exactly until CONTAINER_DESTROY, which sees to it that its disk is synced and free when it answers.
 */
#ifndef CONTAINER_H
#define CONTAINER_H

#include "loop.h"
#include "request.h"
#include "volume.h"

/* Beside a pod's: the one by which hyperd discards a directory, and those that could not be destroyed yet. */
#define CONTAINERS_MAX (HYPER_CONTAINERS_MAX + 8)

enum container_state {
	CONTAINER_CREATING,  /* the holder mounts */
	CONTAINER_CREATED,   /* the holder waits for PROCESS_START with INIT */
	CONTAINER_STARTED,   /* the holder is (or becomes) the init process */
	CONTAINER_STOPPED,   /* the init process has exited */
	CONTAINER_EMPTYING,  /* everything in it is killed */
	CONTAINER_UNMOUNTING /* a worker syncs and unmounts */
};

struct container {
	char name[HYPER_NAME_MAX + 1];
	enum container_state state;
	bool shared_pids;
	bool frozen;
	pid_t holder; /* 0: it has exited */
	struct watch socket; /* to the holder until it becomes init */
	int namespaces[3];   /* mount, cgroup, PID */
	int root;            /* the root directory */
	int cgroup;
	char group[68];      /* the cgroup's name: its own, or of one made ahead */
	struct watch events; /* cgroup.events */
	struct watch memory; /* memory.events */
	struct volume_set volumes;
	uint8_t *upper; /* CREATE's UPPER, for DISCARD */
	size_t upper_length;
	struct device_program *devices; /* not in force yet; NULL: it is, or the container is privileged */
	uint64_t oom_kills;
	struct request *pending; /* CREATE, DESTROY or FREEZE that has begun */
	struct deadline deadline;
	struct failure failure;
	struct container *next;
};

struct container *container_find(const char *name);

/* The one that a request names; NULL, and the request is answered, where there is none. */
struct container *container_named(struct request *request);
void containers_describe(struct buffer *payload);

void op_container_create(struct request *request);
void op_container_destroy(struct request *request);
void op_container_freeze(struct request *request);
void op_container_update(struct request *request);

/* A child of PID 1 has exited; whether it was a holder that had not become init. */
bool container_reaped(pid_t pid);

/* The init process has exited. */
void container_stopped(struct container *container);

/* fork(2) into its PID namespace and cgroup, or its init's cgroup where it has made groups of its own. */
pid_t container_fork(struct container *container);

/* Reads the counter anew. */
uint64_t container_oom_kills(struct container *container);

bool containers_use(unsigned volume);

/* For the shutdown, when nothing else runs any more. */
bool containers_running(void);
bool containers_any(void);
bool containers_mounted(void);
void containers_kill(void);
void containers_unmount(void); /* in a child */

#endif
