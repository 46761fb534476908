/* CONTAINER_UPDATE, and how an operation finds its container. */
#include <errno.h>

#include "cgroup.h"
#include "container.h"

struct container *container_named(struct request *request)
{
	struct failure failure;
	struct container *container = container_find(request->container);
	if (container)
		return container;
	(void)fail(&failure, ENOENT, "container %s: there is none", request->container);
	request_done(request, &failure, NULL);
	return NULL;
}

void op_container_update(struct request *request)
{
	struct failure failure;
	struct container *container = container_named(request);
	if (container)
		request_done(request, cgroup_limit(container->cgroup, request->fields, &failure) == 0 ? NULL : &failure, NULL);
}
