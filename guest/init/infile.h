/* Files of a container, for the host: read and written by processes of the VM that see what the container sees. */
#ifndef INFILE_H
#define INFILE_H

#include <stdbool.h>

#include "util.h"

#define INFILE_READ "hyper-read"
#define INFILE_WRITE "hyper-write"
#define INFILE_USER "hyper-user"

bool infile_builtin(const char *name);
bool infile_is(struct span program);

/*
 * "hyper-read PATH": says "MODE UID GID SIZE" (MODE octal) in a line of its error output and writes the file to its
 * output.  "hyper-write PATH MODE UID GID": its input becomes the file, whole or not at all; SIGTERM ends it without a
 * trace.  Both end with the errno of what failed, and say it.  Only regular files; no magic link of /proc is followed,
 * as it may lead to another container.  "hyper-user USER" ends with 0 where there is such a user (user.h), else it says
 * why not.  Whole trees: archive.h.
 */
__attribute__((noreturn)) void infile_run(char *const *arguments);

#endif
