#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "line.h"
#include "util.h"

static struct line line;

struct relay {
	int line, stream;
	uint8_t out[4 * LINE_FRAME_MAX];
	size_t length, done;
	bool ended;       /* `stream` says no more */
	uint32_t session; /* whose bytes `stream` has */
};

static bool gone(ssize_t got)
{
	return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

/* 0: the line takes no more now. */
static int write_line(struct relay *relay)
{
	for (;;) {
		if (relay->done == relay->length) {
			relay->length = line_output(&line, relay->out, sizeof relay->out, clock_ns(CLOCK_MONOTONIC));
			relay->done = 0;
		}
		if (relay->length == 0)
			return 0;
		ssize_t got = write(relay->line, relay->out + relay->done, relay->length - relay->done);
		if (got <= 0)
			return gone(got) ? -1 : 0;
		relay->done += (size_t)got;
	}
}

static int read_line(struct relay *relay)
{
	uint8_t bytes[4096];
	ssize_t got = read(relay->line, bytes, sizeof bytes);
	if (got > 0)
		line_receive(&line, bytes, (size_t)got, clock_ns(CLOCK_MONOTONIC));
	return gone(got) ? -1 : 0;
}

static void write_stream(struct relay *relay)
{
	const uint8_t *data;
	for (size_t length; (length = line_arrived(&line, &data)) > 0;) {
		ssize_t got = send(relay->stream, data, length, MSG_NOSIGNAL);
		if (got <= 0)
			return;
		line_taken(&line, (size_t)got);
	}
}

/* What PID 1 has said before it heard of this host is the last one's. */
static void drop_stale(struct relay *relay)
{
	uint8_t bytes[4096];
	ssize_t got;
	if (relay->session == line.session)
		return;
	relay->session = line.session;
	do
		got = read(relay->stream, bytes, sizeof bytes);
	while (got > 0);
	relay->ended = gone(got);
}

static void read_stream(struct relay *relay)
{
	drop_stale(relay);
	for (uint8_t *where; !relay->ended && (where = line_payload(&line));) {
		ssize_t got = read(relay->stream, where, LINE_PAYLOAD_MAX);
		relay->ended = gone(got);
		if (got <= 0)
			return;
		line_send(&line, (size_t)got);
	}
}

static int wait_ms(void)
{
	int64_t at = line_deadline(&line);
	if (at == INT64_MAX)
		return -1;
	int64_t left = at - clock_ns(CLOCK_MONOTONIC);
	return left <= 0 ? 0 : (int)(left / 1000000 + 1);
}

int relay_run(int line_fd, int stream)
{
	struct relay relay = {.line = line_fd, .stream = stream};
	const uint8_t *data;
	line_begin(&line);
	for (;;) {
		write_stream(&relay);
		read_stream(&relay);
		if (write_line(&relay) != 0)
			return -1;
		if (relay.ended && line_idle(&line) && relay.length == 0)
			return 0;
		struct pollfd polled[2] = {{.fd = line_fd, .events = POLLIN | (relay.length > 0 ? POLLOUT : 0)}, {.fd = stream}};
		if (!relay.ended && line_payload(&line))
			polled[1].events |= POLLIN;
		if (line_arrived(&line, &data))
			polled[1].events |= POLLOUT;
		if (polled[1].events == 0)
			polled[1].fd = -1; /* a hang-up would be told again and again */
		if (poll(polled, 2, wait_ms()) < 0 && errno != EINTR)
			return -1;
		if (polled[0].revents && read_line(&relay) != 0)
			return -1;
	}
}
