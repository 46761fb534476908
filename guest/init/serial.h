/*
 * The host's port on a line that loses bytes: a process of its own (relay.h) speaks over it, so PID 1 has a pipe like any
 * other.  One that ends is begun again, and the host's session with it.
 */
#ifndef SERIAL_H
#define SERIAL_H

#include <stdbool.h>
#include <sys/types.h>

/* PID 1's end of the pipe to the process that serves the device `path`, which may come later; -1 with errno. */
int serial_start(const char *path);

/* Whether it was the one; another takes its place. */
bool serial_reaped(pid_t pid);

/* Nothing more is said: waits until the host has all of it, at most so long. */
void serial_drain(int milliseconds);

#endif
