#include "loop.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

#define ROUND 64

static int epoll = -1;
static struct epoll_event round_events[ROUND];
static int round_count;
static struct deadline *deadlines;

int loop_init(void)
{
	epoll = epoll_create1(EPOLL_CLOEXEC);
	return epoll < 0 ? -1 : 0;
}

int loop_set(struct watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data = {.ptr = watch}};
	if (watch->fd < 0 || (watch->added && watch->events == events))
		return 0;
	if (events == 0) {
		loop_forget(watch);
		return 0;
	}
	if (epoll_ctl(epoll, watch->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, watch->fd, &event) != 0)
		return -1;
	watch->added = true;
	watch->events = events;
	return 0;
}

void loop_forget(struct watch *watch)
{
	if (watch->added)
		(void)epoll_ctl(epoll, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->added = false;
	for (int i = 0; i < round_count; i++) {
		if (round_events[i].data.ptr == watch)
			round_events[i].data.ptr = NULL;
	}
}

void loop_close(struct watch *watch)
{
	loop_forget(watch);
	close_fd(&watch->fd);
}

void loop_disarm(struct deadline *deadline)
{
	for (struct deadline **at = &deadlines; *at; at = &(*at)->next) {
		if (*at == deadline) {
			*at = deadline->next;
			break;
		}
	}
	deadline->armed = false;
}

void loop_arm(struct deadline *deadline, int milliseconds)
{
	loop_disarm(deadline);
	deadline->at_ns = clock_ns(CLOCK_MONOTONIC) + (int64_t)milliseconds * 1000000;
	deadline->armed = true;
	deadline->next = deadlines;
	deadlines = deadline;
}

static int wait_ms(void)
{
	int64_t first = INT64_MAX;
	for (struct deadline *each = deadlines; each; each = each->next) {
		if (each->at_ns < first)
			first = each->at_ns;
	}
	if (first == INT64_MAX)
		return -1;
	int64_t left = first - clock_ns(CLOCK_MONOTONIC);
	return left <= 0 ? 0 : (int)(left / 1000000 + 1);
}

static void run_deadlines(void)
{
	int64_t now = deadlines ? clock_ns(CLOCK_MONOTONIC) : 0;
	struct deadline *each = deadlines;
	while (each) {
		if (each->at_ns > now) {
			each = each->next;
			continue;
		}
		loop_disarm(each);
		each->expired(each);
		each = deadlines; /* it may have changed the list */
	}
}

void loop_once(bool wait)
{
	int count = epoll_wait(epoll, round_events, ROUND, wait ? wait_ms() : 0);
	round_count = count > 0 ? count : 0;
	for (int i = 0; i < round_count; i++) {
		struct watch *watch = round_events[i].data.ptr;
		if (watch)
			watch->ready(watch, round_events[i].events);
	}
	round_count = 0;
	run_deadlines();
}
