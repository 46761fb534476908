#include "line.h"

#include <string.h>

#define MILLISECOND INT64_C(1000000)
#define RETRY_FIRST (1000 * MILLISECOND)
#define RETRY_LEAST (300 * MILLISECOND)
#define RETRY_MOST (5000 * MILLISECOND)
#define WINDOW_LEAST 4 /* what follows a frame that is lost again tells so at once */
#define RETRIES_MAX 16 /* then the host is gone, until something comes from it */
#define SUM_AT (LINE_HEADER_BYTES - LINE_CHECKSUM_BYTES)
#define BIT(kind) (1u << (kind))

struct frame {
	uint8_t kind;
	unsigned window;
	size_t length;
	uint32_t session, sequence, acknowledged;
	const uint8_t *payload;
	bool damaged;
};

/* Half a byte at a time: a table of 64 bytes, and no start to make it. */
uint32_t line_checksum(const uint8_t *data, size_t length)
{
	static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
	                                   0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
	                                   0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
	uint32_t sum = ~UINT32_C(0);
	for (size_t i = 0; i < length; i++) {
		sum ^= data[i];
		sum = sum >> 4 ^ table[sum & 15];
		sum = sum >> 4 ^ table[sum & 15];
	}
	return ~sum;
}

static void put32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* ---- out ---- */

static unsigned our_room(const struct line *line)
{
	return (unsigned)((sizeof line->arrived - line->arrived_length) / LINE_PAYLOAD_MAX);
}

static size_t put_frame(struct line *line, uint8_t *out, uint8_t kind, uint32_t number, const struct line_sent *sent)
{
	size_t length = sent ? sent->length : 0;
	line->told_room = our_room(line);
	memcpy(out, LINE_MAGIC, 4);
	out[4] = kind;
	out[5] = (uint8_t)line->told_room;
	out[6] = (uint8_t)length;
	out[7] = (uint8_t)(length >> 8);
	put32(out + 8, kind == LINE_RESET ? line->strange : line->session);
	put32(out + 12, number);
	put32(out + 16, line->expected);
	put32(out + SUM_AT, line_checksum(out, SUM_AT));
	if (!sent)
		return LINE_HEADER_BYTES;
	memcpy(out + LINE_HEADER_BYTES, sent->bytes, length);
	put32(out + LINE_HEADER_BYTES + length, line_checksum(sent->bytes, length));
	return LINE_HEADER_BYTES + length + LINE_CHECKSUM_BYTES;
}

static void go_back(struct line *line, unsigned window)
{
	line->written = 0;
	line->window = window;
	line->timed_at = 0;
}

static bool waiting(const struct line *line)
{
	return line->session != 0 && line->flight > 0;
}

static void keep_time(struct line *line, int64_t now)
{
	if (waiting(line) && line->retry_at != 0 && now >= line->retry_at) {
		line->retries++;
		line->retry_ns = 2 * line->retry_ns < RETRY_MOST ? 2 * line->retry_ns : RETRY_MOST;
		line->retry_at = 0;
		go_back(line, WINDOW_LEAST);
		if (line->room == 0)
			line->replies |= BIT(LINE_POLL);
	}
	if (waiting(line) && line->retry_at == 0 && line->retries < RETRIES_MAX && (line->written > 0 || line->room == 0))
		line->retry_at = now + line->retry_ns;
}

static size_t put_replies(struct line *line, uint8_t *out, size_t size)
{
	static const uint8_t order[] = {LINE_RESET, LINE_OPENED, LINE_AGAIN, LINE_ACK, LINE_POLL};
	size_t length = 0;
	for (size_t i = 0; i < sizeof order && length + LINE_HEADER_BYTES <= size; i++) {
		if (line->replies & BIT(order[i]))
			length += put_frame(line, out + length, order[i], 0, NULL);
		line->replies &= ~BIT(order[i]);
	}
	return length;
}

size_t line_output(struct line *line, uint8_t *out, size_t size, int64_t now)
{
	keep_time(line, now);
	size_t length = put_replies(line, out, size);
	while (line->session != 0 && line->written < line->flight && line->written < line->window &&
	       line->written < line->room && length + LINE_FRAME_MAX <= size) {
		uint32_t number = line->first + line->written;
		length += put_frame(line, out + length, LINE_DATA, number, &line->sent[number % LINE_WINDOW]);
		line->written++;
		if (line->timed_at == 0 && line->retries == 0) {
			line->timed = number;
			line->timed_at = now;
		}
	}
	keep_time(line, now);
	return length;
}

int64_t line_deadline(const struct line *line)
{
	return waiting(line) && line->retry_at != 0 ? line->retry_at : INT64_MAX;
}

bool line_idle(const struct line *line)
{
	return !waiting(line) || line->retries >= RETRIES_MAX;
}

uint8_t *line_payload(struct line *line)
{
	if (line->session == 0 || line->flight == LINE_WINDOW)
		return NULL;
	return line->sent[(line->first + line->flight) % LINE_WINDOW].bytes;
}

void line_send(struct line *line, size_t length)
{
	line->sent[(line->first + line->flight) % LINE_WINDOW].length = length;
	line->flight++;
}

/* ---- in ---- */

size_t line_arrived(const struct line *line, const uint8_t **data)
{
	size_t to_end = sizeof line->arrived - line->arrived_at;
	*data = line->arrived + line->arrived_at;
	return line->arrived_length < to_end ? line->arrived_length : to_end;
}

void line_taken(struct line *line, size_t length)
{
	line->arrived_at = (line->arrived_at + length) % sizeof line->arrived;
	line->arrived_length -= length;
	if (line->session != 0 && line->told_room < LINE_WINDOW / 2 && our_room(line) > line->told_room)
		line->replies |= BIT(LINE_ACK); /* there is room again */
}

static void keep(struct line *line, const uint8_t *data, size_t length)
{
	size_t end = (line->arrived_at + line->arrived_length) % sizeof line->arrived;
	size_t before = sizeof line->arrived - end < length ? sizeof line->arrived - end : length;
	memcpy(line->arrived + end, data, before);
	memcpy(line->arrived, data + before, length - before);
	line->arrived_length += length;
}

static void take_data(struct line *line, const struct frame *frame)
{
	uint32_t ahead = frame->sequence - line->expected;
	if (ahead == 0 && !frame->damaged && frame->length <= sizeof line->arrived - line->arrived_length) {
		keep(line, frame->payload, frame->length);
		line->expected++;
		line->missed = false;
		line->replies |= BIT(LINE_ACK);
	} else if (ahead >= LINE_WINDOW) {
		line->replies |= BIT(LINE_ACK); /* it has been there: what said so was lost */
	} else {
		/* Once a round: what comes from further back again is the next one, and what was missing is so still. */
		if (!line->missed || ahead <= line->ahead)
			line->replies |= BIT(LINE_AGAIN);
		line->missed = true;
		line->ahead = ahead;
	}
}

static void measured(struct line *line, int64_t took)
{
	int64_t wanted = (line->retry_ns + 2 * took + 100 * MILLISECOND) / 2;
	line->retry_ns = wanted < RETRY_LEAST ? RETRY_LEAST : wanted > RETRY_MOST ? RETRY_MOST : wanted;
}

static void take_acknowledged(struct line *line, const struct frame *frame, int64_t now)
{
	uint32_t news = frame->acknowledged - line->first;
	if (news > line->flight)
		return; /* an earlier one, or nonsense */
	if (line->timed_at != 0 && line->timed - line->first < news) {
		measured(line, now - line->timed_at);
		line->timed_at = 0;
	}
	line->first += news;
	line->flight -= news;
	line->written = line->written > news ? line->written - news : 0;
	line->room = frame->window < LINE_WINDOW ? frame->window : LINE_WINDOW;
	line->window = line->window + news < LINE_WINDOW ? line->window + news : LINE_WINDOW;
	if (line->retries >= RETRIES_MAX)
		go_back(line, WINDOW_LEAST); /* it is there again */
	line->retries = 0;
	if (news > 0)
		line->retry_at = 0; /* and from the next that is written on anew */
	if (frame->kind == LINE_AGAIN && line->written > 0)
		go_back(line, line->window / 2 > WINDOW_LEAST ? line->window / 2 : WINDOW_LEAST);
}

static void open_session(struct line *line, const struct frame *frame)
{
	if (frame->session == 0)
		return;
	if (line->session != frame->session) {
		line->session = frame->session;
		line->replies = 0;
		line->first = line->expected = 0;
		line->flight = line->written = line->retries = 0;
		line->window = LINE_WINDOW;
		line->retry_ns = RETRY_FIRST;
		line->retry_at = line->timed_at = 0;
		line->arrived_length = 0;
		line->missed = false;
	}
	line->room = frame->window < LINE_WINDOW ? frame->window : LINE_WINDOW;
	line->replies |= BIT(LINE_OPENED);
}

static void take_frame(struct line *line, const struct frame *frame, int64_t now)
{
	if (frame->kind == LINE_OPEN) {
		open_session(line, frame);
	} else if (frame->session != line->session || line->session == 0) {
		if (frame->kind == LINE_CLOSE || frame->kind == LINE_RESET || frame->kind == LINE_OPENED)
			return;
		line->strange = frame->session;
		line->replies |= BIT(LINE_RESET);
	} else if (frame->kind == LINE_CLOSE) {
		line->session = 0;
		line->replies = 0;
	} else if (frame->kind >= LINE_DATA && frame->kind <= LINE_POLL) {
		take_acknowledged(line, frame, now);
		if (frame->kind == LINE_DATA)
			take_data(line, frame);
		else if (frame->kind == LINE_POLL)
			line->replies |= BIT(LINE_ACK);
	}
}

static bool header_ok(const uint8_t *at)
{
	size_t length = (size_t)at[6] | (size_t)at[7] << 8;
	return get32(at + SUM_AT) == line_checksum(at, SUM_AT) && at[4] >= LINE_OPEN && at[4] <= LINE_RESET &&
	       length <= LINE_PAYLOAD_MAX && (length > 0) == (at[4] == LINE_DATA);
}

/* How many bytes from `at` on are done with; 0: more must come. */
static size_t take_one(struct line *line, const uint8_t *at, size_t have, int64_t now)
{
	size_t skip = 0;
	while (skip < have && memcmp(at + skip, LINE_MAGIC, have - skip < 4 ? have - skip : 4) != 0)
		skip++;
	if (skip > 0 || have < LINE_HEADER_BYTES)
		return skip;
	if (!header_ok(at))
		return 1;
	struct frame frame = {.kind = at[4],
	                      .window = at[5],
	                      .length = (size_t)at[6] | (size_t)at[7] << 8,
	                      .session = get32(at + 8),
	                      .sequence = get32(at + 12),
	                      .acknowledged = get32(at + 16),
	                      .payload = at + LINE_HEADER_BYTES};
	size_t size = LINE_HEADER_BYTES + frame.length + (frame.length ? LINE_CHECKSUM_BYTES : 0);
	if (have < size)
		return 0;
	frame.damaged = frame.length && get32(frame.payload + frame.length) != line_checksum(frame.payload, frame.length);
	take_frame(line, &frame, now);
	/* Bytes of a damaged one were lost or changed: the next may begin within it. */
	return frame.damaged ? LINE_HEADER_BYTES : size;
}

void line_receive(struct line *line, const uint8_t *data, size_t length, int64_t now)
{
	while (length > 0) {
		size_t room = sizeof line->bytes - line->length, part = length < room ? length : room, done = 0;
		memcpy(line->bytes + line->length, data, part);
		line->length += part;
		data += part;
		length -= part;
		for (size_t took; (took = take_one(line, line->bytes + done, line->length - done, now)) > 0;)
			done += took;
		memmove(line->bytes, line->bytes + done, line->length - done);
		line->length -= done;
	}
}

void line_begin(struct line *line)
{
	memset(line, 0, sizeof *line);
	line->replies = BIT(LINE_RESET);
}
