/*
 * The one loop: descriptors to watch and deadlines to keep.  Nothing in it runs unless something happened.
 * A callback may forget any watch, also one that has an event waiting in the same round.
 */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct watch {
	int fd; /* the owner's; -1: none */
	bool added;
	uint32_t events;
	void (*ready)(struct watch *watch, uint32_t events);
};

struct deadline {
	int64_t at_ns; /* CLOCK_MONOTONIC */
	bool armed;
	void (*expired)(struct deadline *deadline);
	struct deadline *next;
};

int loop_init(void);

/* `events` 0: not watched at all (a hung-up descriptor would be reported for ever). */
int loop_set(struct watch *watch, uint32_t events);
void loop_forget(struct watch *watch);

/* Forgets and closes. */
void loop_close(struct watch *watch);

void loop_arm(struct deadline *deadline, int milliseconds);
void loop_disarm(struct deadline *deadline);

/* Waits for one round of events; `wait` false: takes what is there. */
void loop_once(bool wait);

#endif
