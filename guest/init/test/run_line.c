/*
 * run_line: relay_run between a line, descriptor 0, and an echo: what has come goes back.
 * Argument: "echo", or "say N": after a byte of the host, N of a pattern; it ends when all have arrived.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../relay.h"
#include "../util.h"
#include "check.h"

static void say(int to, unsigned long count)
{
	uint8_t bytes[1000];
	CHECK(read(to, bytes, 1) == 1);
	for (unsigned long at = 0; at < count;) {
		size_t part = count - at < sizeof bytes ? count - at : sizeof bytes;
		for (size_t i = 0; i < part; i++)
			bytes[i] = (uint8_t)((at + i) * 7 / 5);
		CHECK(write_all(to, bytes, part) == 0);
		at += part;
	}
}

int main(int argc, char **argv)
{
	int pair[2];
	CHECK(argc >= 2 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		(void)close(pair[0]);
		if (strcmp(argv[1], "say") == 0)
			say(pair[1], strtoul(argv[2], NULL, 10));
		else
			(void)copy_all(pair[1], pair[1]);
		_exit(0);
	}
	(void)close(pair[1]);
	CHECK(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(0, F_SETFL, O_NONBLOCK) == 0);
	int done = relay_run(0, pair[0]);
	return done == 0 ? 0 : 3;
}
