/* The guest's end of a line, with a host played by hand: what it says to which frame, and garbage of all kinds. */
#include <string.h>

#include "../line.h"
#include "check.h"

#define SECOND INT64_C(1000000000)

static struct line line;
static int64_t now = SECOND;

struct said {
	uint8_t kind, window;
	size_t length;
	uint32_t session, sequence, acknowledged;
	uint8_t payload[LINE_PAYLOAD_MAX];
};

static void put32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static size_t make(uint8_t *out, uint8_t kind, uint32_t session, uint32_t sequence, uint32_t acknowledged,
                   const char *payload)
{
	size_t length = strlen(payload);
	memcpy(out, LINE_MAGIC, 4);
	out[4] = kind;
	out[5] = LINE_WINDOW;
	out[6] = (uint8_t)length;
	out[7] = (uint8_t)(length >> 8);
	put32(out + 8, session);
	put32(out + 12, sequence);
	put32(out + 16, acknowledged);
	put32(out + 20, line_checksum(out, 20));
	memcpy(out + 24, payload, length);
	if (length > 0)
		put32(out + 24 + length, line_checksum(out + 24, length));
	return 24 + length + (length > 0 ? 4 : 0);
}

static void hear(uint8_t kind, uint32_t session, uint32_t sequence, uint32_t acknowledged, const char *payload)
{
	uint8_t bytes[LINE_FRAME_MAX];
	line_receive(&line, bytes, make(bytes, kind, session, sequence, acknowledged, payload), now);
}

/* The frames that it says now. */
static unsigned say(struct said *said, unsigned most)
{
	uint8_t bytes[LINE_FRAME_MAX * 2];
	unsigned count = 0;
	for (size_t length; (length = line_output(&line, bytes, sizeof bytes, now)) > 0;) {
		for (size_t at = 0; at < length;) {
			struct said one = {.kind = bytes[at + 4], .window = bytes[at + 5]};
			one.length = bytes[at + 6] | (size_t)bytes[at + 7] << 8;
			CHECK(memcmp(bytes + at, LINE_MAGIC, 4) == 0 && get32(bytes + at + 20) == line_checksum(bytes + at, 20));
			one.session = get32(bytes + at + 8);
			one.sequence = get32(bytes + at + 12);
			one.acknowledged = get32(bytes + at + 16);
			memcpy(one.payload, bytes + at + 24, one.length);
			at += 24 + one.length + (one.length ? 4 : 0);
			CHECK(count < most);
			said[count++] = one;
		}
	}
	return count;
}

static struct said only(uint8_t kind)
{
	struct said said[4];
	CHECK(say(said, 4) == 1 && said[0].kind == kind);
	return said[0];
}

static void nothing(void)
{
	struct said said[1];
	CHECK(say(said, 1) == 0);
}

static bool came(const char *text)
{
	const uint8_t *data;
	size_t length = line_arrived(&line, &data);
	bool same = length == strlen(text) && memcmp(data, text, length) == 0;
	line_taken(&line, length);
	return same;
}

static void begin(uint32_t session)
{
	line_begin(&line);
	CHECK(only(LINE_RESET).session == 0);
	hear(LINE_OPEN, session, 0, 0, "");
	CHECK(only(LINE_OPENED).session == session);
}

static void give(const char *text)
{
	uint8_t *where = line_payload(&line);
	CHECK(where);
	memcpy(where, text, strlen(text));
	line_send(&line, strlen(text));
}

static void the_checksum_is_everybodys(void)
{
	CHECK(line_checksum((const uint8_t *)"123456789", 9) == 0xcbf43926);
	CHECK(line_checksum(NULL, 0) == 0);
}

static void bytes_come_once_and_in_order(void)
{
	begin(7);
	hear(LINE_DATA, 7, 0, 0, "one");
	hear(LINE_DATA, 7, 1, 0, "two");
	CHECK(only(LINE_ACK).acknowledged == 2 && came("onetwo"));
	hear(LINE_DATA, 7, 1, 0, "two"); /* what said that it came was lost */
	CHECK(only(LINE_ACK).acknowledged == 2 && came(""));
	hear(LINE_DATA, 7, 3, 0, "four");
	hear(LINE_DATA, 7, 4, 0, "five");
	CHECK(only(LINE_AGAIN).acknowledged == 2 && came(""));
	hear(LINE_DATA, 7, 5, 0, "six");
	nothing(); /* it has been asked for */
	hear(LINE_DATA, 7, 3, 0, "four");
	CHECK(only(LINE_AGAIN).acknowledged == 2); /* it was sent again, and lost again */
	hear(LINE_DATA, 7, 2, 0, "three");
	CHECK(only(LINE_ACK).acknowledged == 3 && came("three"));
	hear(LINE_POLL, 7, 0, 0, "");
	CHECK(only(LINE_ACK).acknowledged == 3);
}

static void what_is_not_acknowledged_is_sent_again(void)
{
	struct said said[LINE_WINDOW];
	begin(7);
	give("a");
	give("b");
	give("c");
	CHECK(say(said, 3) == 3 && said[2].sequence == 2 && said[2].payload[0] == 'c');
	nothing();
	hear(LINE_ACK, 7, 0, 1, "");
	nothing();
	hear(LINE_AGAIN, 7, 0, 1, "");
	CHECK(say(said, 2) == 2 && said[0].sequence == 1 && said[0].payload[0] == 'b');
	CHECK(line_deadline(&line) > now && line_deadline(&line) <= now + 5 * SECOND && !line_idle(&line));
	now += 6 * SECOND;
	CHECK(say(said, 2) == 2 && said[0].sequence == 1);
	hear(LINE_ACK, 7, 0, 3, "");
	CHECK(line_idle(&line) && line_deadline(&line) == INT64_MAX);
	hear(LINE_ACK, 7, 0, 900, ""); /* nonsense */
	CHECK(line_idle(&line));
}

static void a_host_that_is_gone_is_not_called_for_ever(void)
{
	struct said said[2];
	unsigned times = 0;
	begin(7);
	give("a");
	while (line_deadline(&line) != INT64_MAX || times == 0) {
		times += say(said, 2);
		now += 10 * SECOND;
		CHECK(times < 50);
	}
	CHECK(times > 5 && line_idle(&line));
	hear(LINE_POLL, 7, 0, 0, "");
	now += 10 * SECOND;
	CHECK(say(said, 2) == 2 && said[0].kind == LINE_ACK && said[1].kind == LINE_DATA);
}

static void no_more_waits_than_a_window(void)
{
	struct said said[LINE_WINDOW];
	const uint8_t *data;
	char payload[LINE_PAYLOAD_MAX + 1];
	memset(payload, 'x', LINE_PAYLOAD_MAX);
	payload[LINE_PAYLOAD_MAX] = '\0';
	begin(7);
	for (int i = 0; i < LINE_WINDOW; i++)
		give("a");
	CHECK(line_payload(&line) == NULL);
	CHECK(say(said, LINE_WINDOW) == LINE_WINDOW);
	for (uint32_t i = 0; i < LINE_WINDOW + 3; i++)
		hear(LINE_DATA, 7, i, LINE_WINDOW, payload);
	CHECK(say(said, 2) == 2 && said[1].kind == LINE_ACK && said[1].acknowledged == LINE_WINDOW && said[1].window == 0);
	line_taken(&line, line_arrived(&line, &data));
	CHECK(only(LINE_ACK).window == LINE_WINDOW); /* there is room again */
}

static void of_an_older_session_nothing_is_taken(void)
{
	begin(7);
	hear(LINE_DATA, 7, 0, 0, "old");
	give("old");
	hear(LINE_OPEN, 8, 0, 0, "");
	CHECK(only(LINE_OPENED).session == 8 && came(""));
	hear(LINE_DATA, 7, 0, 0, "old");
	CHECK(only(LINE_RESET).session == 7 && came(""));
	hear(LINE_DATA, 8, 0, 0, "new");
	hear(LINE_OPEN, 8, 0, 0, ""); /* once more: it has not heard yet */
	struct said said[2];
	CHECK(say(said, 2) == 2 && said[0].kind == LINE_OPENED && said[1].acknowledged == 1 && came("new"));
	hear(LINE_CLOSE, 8, 0, 0, "");
	nothing();
	CHECK(line_payload(&line) == NULL);
	hear(LINE_POLL, 8, 0, 0, "");
	CHECK(only(LINE_RESET).session == 8);
	hear(LINE_OPEN, 0, 0, 0, "");
	nothing();
}

static void frames_are_found_in_garbage(void)
{
	uint8_t bytes[4096], frame[LINE_FRAME_MAX];
	unsigned long long state = 5;
	begin(7);
	for (uint32_t i = 0; i < 2000; i++) {
		size_t length = random_below(&state, 60), size = make(frame, LINE_DATA, 7, i, 0, "payload");
		for (size_t j = 0; j < length; j++)
			bytes[j] = (uint8_t)(random_below(&state, 3) ? (char)random_below(&state, 256) : LINE_MAGIC[random_below(&state, 4)]);
		/* A piece of a frame: all of it, when it comes again, is found. */
		size_t piece = random_below(&state, (unsigned)size);
		memcpy(bytes + length, frame, piece);
		memcpy(bytes + length + piece, frame, size);
		length += piece + size;
		for (size_t at = 0, part; at < length; at += part) {
			part = 1 + random_below(&state, 40);
			part = part < length - at ? part : length - at;
			line_receive(&line, bytes + at, part, now);
		}
		/* What a hurt header promised may still be waited for; the next ones bring it. */
		while (!came("payload")) {
			line_receive(&line, frame, size, now);
			CHECK(random_below(&state, 4000) != 0);
		}
		(void)line_output(&line, bytes, sizeof bytes, now);
	}
}

static void whatever_comes_it_goes_on(void)
{
	uint8_t bytes[4096], out[LINE_FRAME_MAX];
	const uint8_t *data;
	unsigned long long state = 11;
	line_begin(&line);
	for (int i = 0; i < 30000; i++) {
		uint8_t kind = (uint8_t)random_below(&state, 10);
		uint32_t session = random_below(&state, 3), number = random_below(&state, 40);
		size_t size = make(bytes, kind, session, number, random_below(&state, 40), random_below(&state, 2) ? "x" : "");
		for (unsigned j = random_below(&state, 2); j > 0; j--)
			bytes[random_below(&state, (unsigned)size)] ^= (uint8_t)random_below(&state, 256);
		line_receive(&line, bytes, size - random_below(&state, 2), now);
		if (random_below(&state, 2) && line_payload(&line))
			line_send(&line, 1 + random_below(&state, LINE_PAYLOAD_MAX));
		if (random_below(&state, 2))
			line_taken(&line, line_arrived(&line, &data));
		CHECK(line_output(&line, out, sizeof out, now) <= sizeof out);
		now += random_below(&state, 100000000);
	}
}

int main(void)
{
	RUN(the_checksum_is_everybodys);
	RUN(bytes_come_once_and_in_order);
	RUN(what_is_not_acknowledged_is_sent_again);
	RUN(a_host_that_is_gone_is_not_called_for_ever);
	RUN(no_more_waits_than_a_window);
	RUN(of_an_older_session_nothing_is_taken);
	RUN(frames_are_found_in_garbage);
	RUN(whatever_comes_it_goes_on);
	return 0;
}
