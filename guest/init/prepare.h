/* What a template has ready for the first container of each of its clones. */
#ifndef PREPARE_H
#define PREPARE_H

#include "request.h"

#define PREPARED_GROUP "+" /* its cgroup's name; no container's */

struct prepared {
	pid_t holder; /* 0: there is none */
	int socket, cgroup;
};

/*
 * The holder made ahead, told to go on with this CONTAINER_CREATE, in its cgroup (PREPARED_GROUP).  None where none was
 * made, or where it does not fit: then it is given up.
 */
struct prepared prepared_take(const struct request *request);

#endif
