/*
 * What a process hears of a signal, and when one that waits for its receiver is to be sent: PID 1 of a namespace gets none
 * that it has no handler for, so one that comes before the program has got that far would be lost.
 */
#ifndef HEARING_H
#define HEARING_H

#include <stdbool.h>
#include <stdint.h>

/* As /proc/PID/status says it; a set's bit 0 is signal 1. */
struct hearing {
	bool known;
	bool first;       /* PID 1 of the innermost namespace that it is in */
	uint64_t pending; /* for the whole process */
	uint64_t blocked, caught;
	bool waits; /* in sigwait(2) or its like, in which the kernel shows as unblocked what is waited for */
};

/* Takes the text apart. */
void hearing_read(char *status, struct hearing *hearing);

/* Of /proc/PID/syscall: whether that is the call `number`. */
bool hearing_in_call(const char *syscall, long number);

/* Of one signal, from look to look; zero at the first. */
struct patience {
	bool queued;  /* it was sent while it was blocked */
	bool blocked; /* at the last look */
};

enum step {
	STEP_WAIT, /* look again */
	STEP_SEND, /* send it, and look again */
	STEP_LAST, /* send it; that is all */
	STEP_DONE,
};

enum step patience_step(struct patience *patience, int number, const struct hearing *hearing);

#endif
