/* What a template has ready for the first containers of each of its clones. */
#ifndef PREPARE_H
#define PREPARE_H

#include "request.h"

struct prepared {
	pid_t holder; /* 0: there is none */
	int socket, cgroup;
	char group[8]; /* its cgroup's name; no container's */
};

/*
 * A holder made ahead, told to go on with this CONTAINER_CREATE, in its cgroup.  None where none is left, or where they
 * do not fit.
 */
struct prepared prepared_take(const struct request *request);

#endif
