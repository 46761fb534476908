/* Streams between pipes and a session: credit, resumption, ends, in any order. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../stream.h"
#include "../util.h"
#include "check.h"

#define SESSION 9u

static int pair[2];
static struct stream stream;

/* What a host gets of one stream. */
struct host {
	struct buffer data;
	unsigned eofs, resets;
	uint64_t acked, limit;
};

static void open_output(void)
{
	CHECK(pipe2(pair, O_NONBLOCK) == 0);
	stream_init(&stream, 4 + HYPER_STDOUT);
	stream_attach(&stream, pair[0], false);
}

static void open_input(void)
{
	CHECK(pipe2(pair, O_NONBLOCK) == 0);
	stream_init(&stream, 4 + HYPER_STDIN);
	stream_attach(&stream, pair[1], false);
}

static void new_session(void)
{
	streams_new_session();
	stream_new_session(&stream);
}

static void receive(struct host *host)
{
	struct buffer out = {0};
	for (int i = 0; i < 100 && streams_waiting(); i++)
		streams_send(&out, SESSION, 1 << 20);
	for (size_t at = 0; at < out.length;) {
		size_t length = get_u32(out.data + at);
		const uint8_t *payload = out.data + at + HYPER_FRAME_HEADER;
		uint8_t type = out.data[at + 4];
		if (type == HYPER_DATA)
			buffer_put(&host->data, payload, length);
		if (type == HYPER_CREDIT) {
			host->acked = get_u64(payload);
			host->limit = get_u64(payload + 8);
		}
		host->eofs += type == HYPER_EOF;
		host->resets += type == HYPER_RESET;
		at += HYPER_FRAME_HEADER + length + HYPER_FRAME_TRAILER;
	}
	buffer_free(&out);
}

static void turn(void)
{
	for (int i = 0; i < 20; i++)
		loop_once(false);
}

static void nothing_goes_without_credit(void)
{
	struct host host = {0};
	open_output();
	CHECK(write(pair[1], "hello", 5) == 5);
	turn();
	receive(&host);
	CHECK(host.data.length == 0 && stream.end == 5);
	CHECK(stream_credit(&stream, 0, 3) == 0);
	receive(&host);
	CHECK(host.data.length == 3);
	CHECK(stream_credit(&stream, 3, 1000) == 0);
	receive(&host);
	CHECK(host.data.length == 5 && memcmp(host.data.data, "hello", 5) == 0);
	/* Wrong credits: less than before, more than was sent, a smaller limit. */
	CHECK(stream_credit(&stream, 2, 1000) != 0);
	CHECK(stream_credit(&stream, 6, 1000) != 0);
	CHECK(stream_credit(&stream, 5, 999) != 0);
	CHECK(close(pair[1]) == 0);
	turn();
	receive(&host);
	CHECK(host.eofs == 1 && host.data.length == 5);
	stream_free(&stream);
	buffer_free(&host.data);
}

static void a_full_ring_stops_the_process(void)
{
	static uint8_t block[4096];
	struct host host = {0};
	size_t written = 0;
	open_output();
	for (int i = 0; i < 200; i++) {
		ssize_t done = write(pair[1], block, sizeof block);
		written += done > 0 ? (size_t)done : 0;
		turn();
	}
	CHECK(stream.end == OUTPUT_RING && written > OUTPUT_RING && written <= OUTPUT_RING + 65536);
	CHECK(!stream.watch.added);
	CHECK(stream_credit(&stream, 0, OUTPUT_RING) == 0);
	receive(&host);
	CHECK(host.data.length == OUTPUT_RING);
	CHECK(stream_credit(&stream, OUTPUT_RING, 2 * OUTPUT_RING) == 0);
	turn();
	receive(&host);
	CHECK(host.data.length == written);
	CHECK(close(pair[1]) == 0);
	stream_free(&stream);
	buffer_free(&host.data);
}

static void a_new_session_begins_where_it_says(void)
{
	struct host host = {0};
	open_output();
	CHECK(write(pair[1], "0123456789", 10) == 10);
	turn();
	CHECK(stream_credit(&stream, 0, 100) == 0);
	receive(&host);
	CHECK(stream_credit(&stream, 4, 100) == 0);
	new_session();
	receive(&host);
	CHECK(host.data.length == 10);
	CHECK(stream_credit(&stream, 3, 100) != 0);  /* not there any more */
	CHECK(stream_credit(&stream, 11, 100) != 0); /* not there yet */
	CHECK(stream_credit(&stream, 7, 100) == 0);
	receive(&host);
	CHECK(host.data.length == 13 && memcmp(host.data.data + 10, "789", 3) == 0);
	CHECK(close(pair[1]) == 0);
	turn();
	receive(&host);
	new_session();
	CHECK(stream_credit(&stream, 10, 10) == 0);
	receive(&host);
	CHECK(host.eofs == 2 && host.data.length == 13); /* the end is told again */
	stream_free(&stream);
	buffer_free(&host.data);
}

/* The process has gone; a child of it still writes.  Only what the pipe held counts. */
static void an_exit_takes_what_the_pipe_holds(void)
{
	static uint8_t block[60000];
	struct host host = {0};
	open_output();
	for (int i = 0; i < 3; i++) {
		CHECK(write(pair[1], block, sizeof block) == sizeof block);
		if (i < 2)
			turn();
	}
	CHECK(stream.end == 2 * sizeof block);
	stream_finish(&stream);
	CHECK(!stream.eof && stream.end == OUTPUT_RING);
	CHECK(write(pair[1], "late", 4) == 4);
	CHECK(stream_credit(&stream, 0, OUTPUT_RING) == 0);
	receive(&host);
	CHECK(stream_credit(&stream, OUTPUT_RING, 10 * OUTPUT_RING) == 0);
	turn();
	receive(&host);
	CHECK(host.data.length == 3 * sizeof block && host.eofs == 1);
	stream_free(&stream);
	for (int i = 0; i < 4; i++) { /* the child goes on, though nobody listens */
		CHECK(write(pair[1], block, sizeof block) == sizeof block);
		turn();
	}
	receive(&host);
	CHECK(host.data.length == 3 * sizeof block && host.eofs == 1);
	CHECK(close(pair[1]) == 0);
	turn();
	buffer_free(&host.data);
}

static void a_dropped_output_does_not_stop_the_process(void)
{
	static uint8_t block[4096];
	struct host host = {0};
	open_output();
	CHECK(stream_credit(&stream, 0, 10) == 0);
	stream_drop(&stream);
	for (int i = 0; i < 100; i++) {
		CHECK(write(pair[1], block, sizeof block) == sizeof block);
		turn();
	}
	receive(&host);
	CHECK(host.data.length == 0 && stream.acked == 100 * sizeof block);
	stream_finish(&stream);
	receive(&host);
	CHECK(host.eofs == 1);
	CHECK(close(pair[1]) == 0);
	stream_free(&stream);
	buffer_free(&host.data);
}

static struct span bytes(const void *data, size_t length)
{
	return (struct span){data, length};
}

static void input_flows_with_its_credit(void)
{
	static uint8_t block[INPUT_RING];
	struct host host = {0};
	open_input();
	receive(&host);
	CHECK(host.acked == 0 && host.limit == INPUT_RING);
	CHECK(stream_accept(&stream, bytes(block, sizeof block)) == 0);
	CHECK(stream_accept(&stream, bytes("x", 1)) != 0); /* beyond the limit */
	turn();
	receive(&host);
	CHECK(host.limit == INPUT_RING); /* what a pipe holds is too little to tell */
	size_t got = 0;
	for (ssize_t done; got < sizeof block; got += (size_t)done) {
		done = read(pair[0], block, sizeof block);
		CHECK(done > 0);
		turn();
	}
	receive(&host);
	CHECK(host.acked == INPUT_RING && host.limit == 2 * INPUT_RING);
	CHECK(stream_accept(&stream, bytes("end", 3)) == 0);
	stream_accept_eof(&stream);
	turn();
	CHECK(read(pair[0], block, 10) == 3 && read(pair[0], block, 10) == 0);
	stream_finish(&stream);
	receive(&host);
	CHECK(host.resets == 0); /* the host had ended it */
	CHECK(close(pair[0]) == 0);
	stream_free(&stream);
}

static void a_closed_input_is_told_once_a_session(void)
{
	struct host host = {0};
	open_input();
	receive(&host);
	CHECK(stream_accept(&stream, bytes("lost", 4)) == 0);
	CHECK(close(pair[0]) == 0);
	turn();
	receive(&host);
	CHECK(host.resets == 1);
	CHECK(stream_accept(&stream, bytes("more", 4)) == 0); /* dropped */
	stream_finish(&stream);
	receive(&host);
	CHECK(host.resets == 1);
	new_session();
	receive(&host);
	CHECK(host.resets == 2);
	stream_free(&stream);
}

static void a_new_session_goes_on_with_the_input(void)
{
	char text[16];
	struct host host = {0};
	open_input();
	new_session();
	CHECK(stream_accept(&stream, bytes("early", 5)) != 0); /* before the credit */
	receive(&host);
	CHECK(stream_accept(&stream, bytes("first", 5)) == 0);
	turn();
	new_session();
	receive(&host);
	CHECK(host.acked == 5 && host.limit == INPUT_RING + 5);
	CHECK(stream_accept(&stream, bytes("second", 6)) == 0);
	turn();
	CHECK(read(pair[0], text, sizeof text) == 11 && memcmp(text, "firstsecond", 11) == 0);
	CHECK(close(pair[0]) == 0);
	stream_free(&stream);
}

/* Two streams with much to send take turns. */
static void streams_take_turns(void)
{
	static uint8_t block[60000];
	struct stream streams[2];
	struct buffer out = {0};
	for (uint32_t i = 0; i < 2; i++) {
		CHECK(pipe2(pair, O_NONBLOCK) == 0);
		CHECK(write(pair[1], block, sizeof block) == sizeof block && close(pair[1]) == 0);
		stream_init(&streams[i], 4 * i + HYPER_STDOUT);
		stream_attach(&streams[i], pair[0], false);
		turn();
		CHECK(stream_credit(&streams[i], 0, 1 << 20) == 0);
	}
	uint32_t expected = 1;
	for (int i = 0; i < 4; i++) {
		streams_send(&out, SESSION, out.length + 1); /* one frame */
		CHECK(get_u32(out.data + 8) == expected);
		expected = expected == 1 ? 5 : 1;
		buffer_free(&out);
	}
	stream_free(&streams[0]);
	stream_free(&streams[1]);
}

int main(void)
{
	CHECK(loop_init() == 0);
	CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	RUN(nothing_goes_without_credit);
	RUN(a_full_ring_stops_the_process);
	RUN(a_new_session_begins_where_it_says);
	RUN(an_exit_takes_what_the_pipe_holds);
	RUN(a_dropped_output_does_not_stop_the_process);
	RUN(input_flows_with_its_credit);
	RUN(a_closed_input_is_told_once_a_session);
	RUN(a_new_session_goes_on_with_the_input);
	RUN(streams_take_turns);
	return 0;
}
