/*
 * Everything that a host can send to PID 1, against the real session, requests, schemas and streams (fakes.c stands
 * for containers and processes).  With libFuzzer:
 *
 *     clang -fsanitize=fuzzer,address,undefined ...
 *
 * and without, built with -DSTANDALONE: fuzz_session DIRECTORY SEED COUNT makes inputs of its own, by breaking
 * sessions that were right.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../loop.h"
#include "../session.h"
#include "../util.h"
#include "check.h"
#include "fakes.h"

#define SESSION 1u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void turn(int times)
{
	for (int i = 0; i < times; i++) {
		loop_once(false);
		(void)session_pump();
	}
}

static void set_up(const char *directory)
{
	CHECK(snprintf(address.sun_path, sizeof address.sun_path, "%s/fuzz.%d", directory, getpid()) < (int)sizeof address.sun_path);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 4) == 0);
	CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	CHECK(loop_init() == 0 && session_serve(-1, listener) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	set_up("/tmp");
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t sink[65536];
	int host = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(host >= 0 && connect(host, (struct sockaddr *)&address, sizeof address) == 0);
	for (int stalled = 0; size > 0 && stalled < 50;) {
		ssize_t done = send(host, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		stalled = done > 0 ? 0 : stalled + 1;
		data += done > 0 ? done : 0;
		size -= done > 0 ? (size_t)done : 0;
		turn(1);
		for (int i = 0; i < FAKES_MAX; i++) {
			if (fakes[i].used && fakes[i].ends[1] >= 0 && write(fakes[i].ends[1], sink, 100) < 0)
				CHECK(errno == EAGAIN || errno == EPIPE);
		}
		while (recv(host, sink, sizeof sink, MSG_DONTWAIT) > 0)
			continue;
	}
	turn(2);
	(void)close(host);
	turn(3);
	fakes_reset();
	return 0;
}

#ifdef STANDALONE

static unsigned long long state;

static unsigned below(unsigned bound)
{
	return random_below(&state, bound);
}

static void random_field(struct buffer *out, int depth)
{
	uint16_t tag = (uint16_t)below(140);
	size_t begun_at = field_begin(out, tag);
	unsigned kind = below(5);
	if (kind == 0)
		buffer_u32(out, below(16));
	else if (kind == 1)
		buffer_u64(out, below(1000));
	else if (kind == 2 && depth < 6)
		for (unsigned i = below(4); i > 0; i--)
			random_field(out, depth + 1);
	else
		for (unsigned i = below(20); i > 0; i--)
			buffer_put(out, "abc./-\0" + below(7), 1);
	field_end(out, begun_at);
}

static void random_request(struct buffer *out)
{
	struct buffer request = {0};
	buffer_u32(&request, below(1000));
	buffer_u16(&request, (uint16_t)below(15));
	buffer_u16(&request, 0);
	field_text(&request, HYPER_CONTAINER, below(2) ? "a" : "b");
	field_u32(&request, HYPER_PROCESS, below(FAKES_MAX + 1));
	if (below(2))
		field_text(&request, HYPER_ARG, "x");
	for (unsigned i = below(3); i > 0; i--)
		random_field(&request, 0);
	message_put(out, HYPER_REQUEST, SESSION, &request);
	buffer_free(&request);
}

static void start_process(struct buffer *out)
{
	struct buffer request = {0};
	buffer_u32(&request, below(1000));
	buffer_u16(&request, HYPER_OP_PROCESS_START);
	buffer_u16(&request, 0);
	field_text(&request, HYPER_CONTAINER, "a");
	field_u32(&request, HYPER_PROCESS, below(FAKES_MAX));
	field_text(&request, HYPER_ARG, "x");
	message_put(out, HYPER_REQUEST, SESSION, &request);
	buffer_free(&request);
}

static void random_frame(struct buffer *out)
{
	static uint8_t zeros[70000];
	struct buffer payload = {0};
	uint32_t stream = below(FAKES_MAX * 4);
	switch (below(8)) {
	case 0:
		start_process(out);
		break;
	case 1:
		random_request(out);
		break;
	case 2:
		frame_put(out, HYPER_DATA, 0, stream, SESSION, zeros, 1 + below(below(10) ? 100 : HYPER_FRAME_MAX));
		break;
	case 3:
		frame_put(out, HYPER_EOF, 0, stream & ~3u, SESSION, NULL, 0);
		break;
	case 4:
		frame_put(out, below(2) ? HYPER_RESET : HYPER_PING, 0, stream | 1, SESSION, NULL, 0);
		break;
	default:
		buffer_u64(&payload, below(3) ? 0 : below(500));
		buffer_u64(&payload, below(200000));
		frame_put(out, HYPER_CREDIT, 0, stream, SESSION, payload.data, payload.length);
	}
	buffer_free(&payload);
}

static void make(struct buffer *out)
{
	struct buffer hello = {0};
	buffer_u32(&hello, HYPER_VERSION);
	buffer_u32(&hello, SESSION);
	for (unsigned sessions = 1 + below(2); sessions > 0; sessions--) {
		buffer_put(out, HYPER_SYNC, HYPER_SYNC_BYTES);
		message_put(out, HYPER_HELLO, SESSION, &hello);
		for (unsigned i = below(30); i > 0; i--)
			random_frame(out);
	}
	buffer_free(&hello);
	/* Half of them are right; the others are broken somewhere. */
	for (unsigned i = below(2) ? below(4) : 0; i > 0; i--)
		out->data[below((unsigned)out->length)] = (uint8_t)below(256);
	if (below(4) == 0)
		out->length = below((unsigned)out->length + 1);
}

int main(int argc, char **argv)
{
	CHECK(argc == 4);
	set_up(argv[1]);
	for (unsigned long i = 0; i < strtoul(argv[3], NULL, 10); i++) {
		struct buffer input = {0};
		state = strtoull(argv[2], NULL, 10) * 1000003 + i;
		make(&input);
		(void)LLVMFuzzerTestOneInput(input.data, input.length);
		buffer_free(&input);
	}
	return unlink(address.sun_path);
}

#endif
