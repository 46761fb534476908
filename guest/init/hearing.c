#include "hearing.h"

#include <stdlib.h>
#include <string.h>

static bool set_of(const char *line, const char *name, uint64_t *set)
{
	size_t length = strlen(name);
	if (strncmp(line, name, length) != 0)
		return false;
	*set = strtoull(line + length, NULL, 16);
	return true;
}

static bool is_first(const char *line)
{
	const char *last = strrchr(line, '\t');
	return last && strcmp(last, "\t1") == 0;
}

/* No line begins with what a program has written: the kernel shows a newline in its name as "\n". */
void hearing_read(char *status, struct hearing *hearing)
{
	char *rest = status, *line;
	int sets = 0;
	*hearing = (struct hearing){0};
	while ((line = strsep(&rest, "\n"))) {
		if (strncmp(line, "NSpid:", 6) == 0)
			hearing->first = is_first(line);
		sets += set_of(line, "ShdPnd:\t", &hearing->pending) + set_of(line, "SigBlk:\t", &hearing->blocked) +
		        set_of(line, "SigCgt:\t", &hearing->caught);
	}
	hearing->known = sets == 3;
}

bool hearing_in_call(const char *syscall, long number)
{
	char *end;
	long called = strtol(syscall, &end, 10); /* or "running" */
	return end != syscall && called == number;
}

enum step patience_step(struct patience *patience, int number, const struct hearing *hearing)
{
	uint64_t bit = UINT64_C(1) << (number - 1);
	bool queued = patience->queued, blocked = hearing->blocked & bit;
	if (!hearing->known || !hearing->first)
		return queued ? STEP_DONE : STEP_LAST;
	if (queued && (hearing->pending & bit))
		return STEP_WAIT; /* it may yet be dropped, when it is unblocked without a handler */
	if ((hearing->caught & bit) || hearing->waits)
		return queued ? STEP_DONE : STEP_LAST;
	if (queued && blocked)
		return STEP_DONE; /* taken by sigwait(2) or its like */
	/* A fork blocks all signals for a moment; who waits for them, for good. */
	patience->queued = blocked && patience->blocked;
	patience->blocked = blocked;
	return patience->queued ? STEP_SEND : STEP_WAIT;
}
