/*
 * The child that makes a container: it mounts the root in its own namespaces, tells PID 1, and waits, to become the
 * container's init process when PROCESS_START says so (or a holder of nothing, in a shared PID namespace).  Where it
 * fails, its namespaces go with it, and nothing is left.
 */
#ifndef HOLDER_H
#define HOLDER_H

#include "request.h"

__attribute__((noreturn)) void holder_main(const struct request *request, int socket);

/* A holder made ahead: does PREPARE's part, and goes on when NOTE_CREATE comes. */
__attribute__((noreturn)) void prepared_holder_main(const struct request *request, int socket);

/* PID 1 of the PID namespace that containers with PID_MODE 1 share: reaps, and sees nothing of the VM. */
__attribute__((noreturn)) void pod_init_main(void);

/* Writes SYSCTL fields below /proc/sys. */
int sysctls_write(struct span fields, struct failure *failure);

#endif
