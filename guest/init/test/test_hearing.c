/* A stop signal and its receiver: what /proc says of one, and when the signal is sent. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../hearing.h"
#include "check.h"

#define BIT (UINT64_C(1) << (SIGTERM - 1))

static const struct hearing deaf = {.known = true, .first = true};
static const struct hearing listens = {.known = true, .first = true, .caught = BIT};
static const struct hearing blocks = {.known = true, .first = true, .blocked = BIT};
static const struct hearing holds = {.known = true, .first = true, .blocked = BIT, .pending = BIT};

static void what_the_kernel_writes_is_read(void)
{
	char status[] = "Name:\tSigCgt:\t0000000000004000\\nSigCgt:\tffffffffffffffff\nNSpid:\t240\t12\t1\nSigQ:\t0/7000\n"
	                "SigPnd:\tffffffffffffffff\nShdPnd:\t0000000000000001\nSigBlk:\t8000000000000000\n"
	                "SigIgn:\t0000000000001000\nSigCgt:\t0000000000004002\n";
	struct hearing hearing;
	hearing_read(status, &hearing);
	CHECK(hearing.known && hearing.first && hearing.pending == 1);
	CHECK(hearing.blocked == UINT64_C(1) << 63 && hearing.caught == 0x4002);
	char other[] = "NSpid:\t11\nShdPnd:\t0\nSigBlk:\t0\n";
	hearing_read(other, &hearing);
	CHECK(!hearing.known && !hearing.first);
	char none[] = "";
	hearing_read(none, &hearing);
	CHECK(!hearing.known);
}

static void heard(int number)
{
	(void)number;
}

static void it_is_the_kernel_that_writes_it(void)
{
	char status[16384];
	struct hearing hearing;
	CHECK(signal(SIGTERM, heard) != SIG_ERR);
	FILE *file = fopen("/proc/self/status", "r");
	CHECK(file);
	status[fread(status, 1, sizeof status - 1, file)] = '\0';
	(void)fclose(file);
	hearing_read(status, &hearing);
	CHECK(hearing.known && hearing.first == (getpid() == 1));
	CHECK((hearing.caught & BIT) && !(hearing.blocked & BIT) && !(hearing.pending & BIT));
}

static enum step step(struct patience *patience, struct hearing hearing)
{
	return patience_step(patience, SIGTERM, &hearing);
}

static void it_is_sent_once_there_is_a_handler(void)
{
	struct patience patience = {0};
	for (int i = 0; i < 3; i++)
		CHECK(step(&patience, deaf) == STEP_WAIT);
	CHECK(step(&patience, listens) == STEP_LAST);
}

static void whoever_is_no_pid_1_or_unknown_gets_it_at_once(void)
{
	struct patience patience = {0};
	CHECK(step(&patience, (struct hearing){.known = true}) == STEP_LAST);
	CHECK(step(&patience, (struct hearing){0}) == STEP_LAST);
}

static void a_fork_is_no_wait(void)
{
	struct patience patience = {0};
	CHECK(step(&patience, blocks) == STEP_WAIT);
	CHECK(step(&patience, deaf) == STEP_WAIT);
	CHECK(step(&patience, blocks) == STEP_WAIT);
	CHECK(step(&patience, listens) == STEP_LAST);
}

static void whoever_waits_for_it_blocked_takes_it(void)
{
	struct patience patience = {0};
	CHECK(step(&patience, blocks) == STEP_WAIT);
	CHECK(step(&patience, blocks) == STEP_SEND);
	CHECK(step(&patience, holds) == STEP_WAIT);
	CHECK(step(&patience, blocks) == STEP_DONE);
}

static void whoever_waits_for_it_just_now_gets_it_at_once(void)
{
	struct patience patience = {0};
	CHECK(step(&patience, (struct hearing){.known = true, .first = true, .waits = true}) == STEP_LAST);
	CHECK(hearing_in_call("128 0x7ffc 0x0", 128) && !hearing_in_call("1280 0x0", 128));
	CHECK(!hearing_in_call("running\n", 0) && !hearing_in_call("", 0));
}

static void what_is_dropped_when_it_is_unblocked_is_sent_again(void)
{
	struct patience patience = {0};
	CHECK(step(&patience, blocks) == STEP_WAIT && step(&patience, blocks) == STEP_SEND);
	CHECK(step(&patience, deaf) == STEP_WAIT);
	CHECK(step(&patience, listens) == STEP_LAST);
}

static void what_a_handler_has_taken_is_not_sent_again(void)
{
	struct patience patience = {0};
	CHECK(step(&patience, blocks) == STEP_WAIT && step(&patience, blocks) == STEP_SEND);
	CHECK(step(&patience, (struct hearing){.known = true, .first = true, .pending = BIT, .blocked = BIT, .caught = BIT}) == STEP_WAIT);
	CHECK(step(&patience, listens) == STEP_DONE);
}

int main(void)
{
	RUN(what_the_kernel_writes_is_read);
	RUN(it_is_the_kernel_that_writes_it);
	RUN(it_is_sent_once_there_is_a_handler);
	RUN(whoever_is_no_pid_1_or_unknown_gets_it_at_once);
	RUN(a_fork_is_no_wait);
	RUN(whoever_waits_for_it_blocked_takes_it);
	RUN(whoever_waits_for_it_just_now_gets_it_at_once);
	RUN(what_is_dropped_when_it_is_unblocked_is_sent_again);
	RUN(what_a_handler_has_taken_is_not_sent_again);
	return 0;
}
