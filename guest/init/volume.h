/*
 * Storage that the pod's containers share: each volume is mounted in the VM, on VOLUMES_POINT/NAME, and containers bind
 * it from there.  VOLUMES_POINT is a shared mount, so that a mount namespace that was made earlier still hears of a
 * volume (volumes_follow), while nothing that a container mounts is heard of outside it (volumes_part).
 */
#ifndef VOLUME_H
#define VOLUME_H

#include "request.h"

#define VOLUMES_POINT HYPER_VOLUMES_POINT
#define VOLUMES_MAX 256
#define VOLUME_MEMORY "hyper.shm" /* always there: 64 MiB for the containers' /dev/shm */

struct volume_set {
	uint64_t bits[VOLUMES_MAX / 64];
};

void op_volume_add(struct request *request);
void op_volume_remove(struct request *request);

/* Makes VOLUMES_POINT, before the first mount namespace that is to follow it. */
int volumes_begin(struct failure *failure);

/* In a child with a mount namespace of its own: volumes come and go in it too, from now on or no more. */
void volumes_follow(void);
void volumes_part(void);

/* Those that the bind mounts of a CONTAINER_CREATE name; ENOENT where there is none of a name. */
int volumes_named(struct span fields, struct volume_set *set, struct failure *failure);

/* A bind mount's source "NAME/path/below": the place, made if it is missing, or -1. */
int volume_place(const char *source, struct failure *failure);

/* For the shutdown: whether there are more than memory, which nobody wants back. */
bool volumes_any(void);
void volumes_unmount(void); /* in a child */

#endif
