/* The kernel's announcements of devices. */
#ifndef UEVENT_H
#define UEVENT_H

#include <stdbool.h>
#include <stdint.h>

/* A socket that gets them from now on, or -1. */
int uevent_open(void);

/* Waits for the next; false at the deadline (CLOCK_MONOTONIC; INT64_MAX: none). */
bool uevent_wait(int socket, int64_t end_ns);

#endif
