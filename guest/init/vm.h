/* The VM itself: what PID 1 does before it serves, and at the end. */
#ifndef VM_H
#define VM_H

#include <stdbool.h>
#include <stddef.h>

/* Mounts, modules, a root that can be left; only as PID 1 of an initramfs. */
void vm_boot(void);

/* The directories that containers are made in, below the present root. */
void vm_directories(void);

/* The value of NAME=VALUE on the kernel's command line; false when it is not there. */
bool vm_argument(const char *name, char *value, size_t size);

/* Kills all, syncs, unmounts, powers off; takes seconds at most, whatever hangs. */
__attribute__((noreturn)) void vm_power_off(void);

/* PID 1 cannot go on. */
__attribute__((noreturn)) void vm_fatal(const char *what);

#endif
