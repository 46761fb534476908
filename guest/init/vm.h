/* The VM itself: what PID 1 does before it serves, and at the end. */
#ifndef VM_H
#define VM_H

#include <stdbool.h>
#include <stddef.h>

/* Mounts, modules, a root that can be left; only as PID 1 of an initramfs. */
void vm_boot(void);

/* The event loop runs: what can be put off is put off to a second later. */
void vm_serving(void);

/* Waits for what vm_boot began and a container needs. */
void vm_settle(void);

/* Does what vm_serving put off; whether there was something. */
bool vm_tidy(void);

/* The value of NAME=VALUE on the kernel's command line; false when it is not there. */
bool vm_argument(const char *name, char *value, size_t size);

/* Kills all, syncs, unmounts, powers off; takes seconds at most, whatever hangs. */
__attribute__((noreturn)) void vm_power_off(void);

/* PID 1 cannot go on. */
__attribute__((noreturn)) void vm_fatal(const char *what);

#endif
