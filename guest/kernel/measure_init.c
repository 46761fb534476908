/* Init of measure.py's guest: says when it was reached, and powers off.
 *
 * Prints "init UPTIME_NS TSC_NS": CLOCK_BOOTTIME, which starts some way into the kernel, and the time stamp
 * counter since the machine's reset (emulators start it at zero), which has firmware and early kernel in it.
 */
#include <stdint.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t = {0};

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(void)
{
	uint64_t reached = now_ns(CLOCK_BOOTTIME), ticks = __rdtsc();
	struct timespec rest = {.tv_nsec = 20000000};

	dprintf(1, "init\n"); /* the host's clock stops here */
	uint64_t start_ns = now_ns(CLOCK_MONOTONIC_RAW), start_ticks = __rdtsc();
	nanosleep(&rest, NULL);
	uint64_t ns = now_ns(CLOCK_MONOTONIC_RAW) - start_ns;
	double ns_per_tick = (double)ns / (double)(__rdtsc() - start_ticks);

	dprintf(1, "times %llu %.0f\n", (unsigned long long)reached, (double)ticks * ns_per_tick);
	reboot(RB_AUTOBOOT); /* the machine runs with -no-reboot */
	for (;;)
		pause();
}
