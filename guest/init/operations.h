/* The operations that concern neither one container's life nor a process's.  Each answers its request, once. */
#ifndef OPERATIONS_H
#define OPERATIONS_H

#include "request.h"

void op_configure(struct request *request);
void op_set_time(struct request *request);
void op_stats(struct request *request);
void op_container_processes(struct request *request);
void op_prepare(struct request *request);
void op_shutdown(struct request *request);

#endif
