/*
 * The wire: what goes in comes out, however it is cut, and garbage is survived.
 *
 *     test_wire MESSAGES    a file of what the host sends (tests/golden/wire/messages.txt)
 */
#include <string.h>

#include "../schema.h"
#include "../wire.h"
#include "check.h"

#define SESSION 0x11223344u

static struct wire_reader reader;

static void begin_session(struct buffer *bytes, uint32_t session)
{
	struct buffer hello = {0};
	buffer_u32(&hello, HYPER_VERSION);
	buffer_u32(&hello, session);
	buffer_put(bytes, HYPER_SYNC, HYPER_SYNC_BYTES);
	message_put(bytes, HYPER_HELLO, session, &hello);
	buffer_free(&hello);
}

/* Feeds up to `piece` bytes at a time and counts events of a kind. */
static unsigned feed(const struct buffer *bytes, size_t piece, enum wire_event_kind kind, size_t *total)
{
	unsigned count = 0;
	for (size_t at = 0; at < bytes->length;) {
		uint8_t *where;
		size_t room = wire_room(&reader, &where), left = bytes->length - at;
		size_t length = piece < left ? piece : left;
		CHECK(room > 0);
		length = length < room ? length : room;
		memcpy(where, bytes->data + at, length);
		wire_filled(&reader, length);
		at += length;
		for (struct wire_event event; (event = wire_next(&reader)).kind != WIRE_NOTHING;) {
			count += event.kind == kind;
			if (total && event.kind == kind)
				*total += event.data.length;
		}
	}
	return count;
}

static void frames_come_in_any_pieces(void)
{
	struct buffer bytes = {0}, message = {0};
	static uint8_t big[200000];
	begin_session(&bytes, SESSION);
	frame_put(&bytes, HYPER_DATA, 0, 7, SESSION, "abc", 3);
	frame_put(&bytes, HYPER_EOF, 0, 7, SESSION, NULL, 0);
	buffer_put(&message, big, sizeof big);
	message_put(&bytes, HYPER_REQUEST, SESSION, &message);
	frame_put(&bytes, HYPER_DATA, 0, 9, SESSION, big, HYPER_FRAME_MAX);
	static const size_t pieces[] = {1, 2, 3, 15, 16, 17, 1000, 65536, 300000};
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
		size_t frames = 0, messages = 0;
		wire_reset(&reader);
		CHECK(feed(&bytes, pieces[i], WIRE_FRAME, &frames) == 3);
		CHECK(frames == 3 + HYPER_FRAME_MAX);
		wire_reset(&reader);
		CHECK(feed(&bytes, pieces[i], WIRE_MESSAGE, &messages) == 2);
		CHECK(messages == 8 + sizeof big);
	}
	buffer_free(&bytes);
	buffer_free(&message);
}

static void frames_come_between_parts_of_a_message(void)
{
	struct buffer bytes = {0};
	size_t total = 0;
	begin_session(&bytes, SESSION);
	frame_put(&bytes, HYPER_REQUEST, HYPER_FLAG_MORE, 0, SESSION, "12345678", 8);
	frame_put(&bytes, HYPER_DATA, 0, 4, SESSION, "x", 1);
	frame_put(&bytes, HYPER_REQUEST, 0, 0, SESSION, "90", 2);
	wire_reset(&reader);
	CHECK(feed(&bytes, 1, WIRE_MESSAGE, &total) == 2);
	CHECK(total == 8 + 10);
	/* But not the parts of another message type. */
	frame_put(&bytes, HYPER_REQUEST, HYPER_FLAG_MORE, 0, SESSION, "1", 1);
	frame_put(&bytes, HYPER_EVENT, 0, 0, SESSION, "1", 1);
	wire_reset(&reader);
	CHECK(feed(&bytes, 1000, WIRE_LOST, NULL) == 1);
	buffer_free(&bytes);
}

/* A session that is cut at any byte, with padding after it, never spoils the next. */
static void a_cut_session_is_followed_by_another(void)
{
	static uint8_t zeros[HYPER_PADDING];
	struct buffer first = {0};
	begin_session(&first, SESSION);
	frame_put(&first, HYPER_DATA, 0, 4, SESSION, "hello", 5);
	frame_put(&first, HYPER_CREDIT, 0, 5, SESSION, "0123456789abcdef", 16);
	for (size_t cut = 0; cut <= first.length; cut++) {
		struct buffer bytes = {0};
		size_t data = 0;
		buffer_put(&bytes, first.data, cut);
		buffer_put(&bytes, zeros, sizeof zeros);
		begin_session(&bytes, SESSION + 1);
		frame_put(&bytes, HYPER_DATA, 0, 4, SESSION + 1, "second", 6);
		wire_reset(&reader);
		(void)feed(&bytes, 4096, WIRE_FRAME, &data);
		CHECK(reader.session == SESSION + 1);
		/* Whole frames of the first, none that was cut, and the second's. */
		CHECK(data == 6 || data == 6 + 5 || data == 6 + 5 + 16);
		buffer_free(&bytes);
	}
	buffer_free(&first);
}

/* Without padding too, when the cut fell between frames. */
static void a_new_mark_begins_a_new_session(void)
{
	struct buffer bytes = {0};
	begin_session(&bytes, SESSION);
	begin_session(&bytes, SESSION + 5);
	wire_reset(&reader);
	CHECK(feed(&bytes, 7, WIRE_MESSAGE, NULL) == 2);
	CHECK(reader.session == SESSION + 5);
	buffer_free(&bytes);
}

static void lose(const struct buffer *bad)
{
	struct buffer bytes = {0};
	begin_session(&bytes, SESSION);
	buffer_put(&bytes, bad->data, bad->length);
	wire_reset(&reader);
	CHECK(feed(&bytes, 1000, WIRE_LOST, NULL) == 1);
	CHECK(reader.session == 0);
	buffer_free(&bytes);
}

static void what_is_no_frame_ends_the_session(void)
{
	static const struct {
		uint8_t type, flags;
		uint32_t stream, session;
	} headers[] = {
		{0, 0, 0, SESSION},          {12, 0, 0, SESSION},
		{HYPER_DATA, 0, 4, 0},       {HYPER_DATA, 0, 4, SESSION + 1},
		{HYPER_REQUEST, 2, 0, SESSION}, {HYPER_DATA, HYPER_FLAG_MORE, 4, SESSION},
		{HYPER_REQUEST, 0, 4, SESSION}, {HYPER_HELLO, 0, 0, SESSION},
	};
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
		struct buffer bad = {0};
		frame_put(&bad, headers[i].type, headers[i].flags, headers[i].stream, headers[i].session, "12345678", 8);
		lose(&bad);
		buffer_free(&bad);
	}
	struct buffer bad = {0};
	frame_put(&bad, HYPER_DATA, 0, 4, SESSION, "x", 1);
	bad.data[bad.length - 1] ^= 1; /* the trailer */
	lose(&bad);
	bad.data[bad.length - 1] ^= 1;
	bad.data[2] = 1; /* 65537 bytes */
	lose(&bad);
	buffer_free(&bad);
}

static void a_message_has_a_limit(void)
{
	static uint8_t part[HYPER_FRAME_MAX];
	struct buffer bytes = {0};
	begin_session(&bytes, SESSION);
	for (size_t i = 0; i <= HYPER_MESSAGE_MAX / HYPER_FRAME_MAX; i++)
		frame_put(&bytes, HYPER_REQUEST, HYPER_FLAG_MORE, 0, SESSION, part, sizeof part);
	wire_reset(&reader);
	CHECK(feed(&bytes, 100000, WIRE_LOST, NULL) == 1);
	buffer_free(&bytes);
}

static void hello_names_its_session(void)
{
	struct buffer bytes = {0}, hello = {0};
	buffer_u32(&hello, HYPER_VERSION);
	buffer_u32(&hello, SESSION + 1);
	buffer_put(&bytes, HYPER_SYNC, HYPER_SYNC_BYTES);
	message_put(&bytes, HYPER_HELLO, SESSION, &hello);
	wire_reset(&reader);
	CHECK(feed(&bytes, 100, WIRE_MESSAGE, NULL) == 0);
	CHECK(reader.session == 0);
	buffer_free(&bytes);
	buffer_free(&hello);
}

static void fields_come_back(void)
{
	struct buffer bytes = {0};
	struct span value = {0}, rest;
	field_u32(&bytes, HYPER_PROCESS, 77);
	size_t begun = field_begin(&bytes, HYPER_LOWER);
	field_text(&bytes, HYPER_SERIAL, "disk");
	field_end(&bytes, begun);
	field_u64(&bytes, HYPER_MEMORY_MAX, 1ULL << 40);
	field_text(&bytes, HYPER_ARG, "one");
	field_text(&bytes, HYPER_ARG, "");
	struct span fields = {bytes.data, bytes.length};
	CHECK(find_u32(fields, HYPER_PROCESS, 0) == 77);
	CHECK(find_u64(fields, HYPER_MEMORY_MAX, 0) == 1ULL << 40);
	CHECK(find_u32(fields, HYPER_SIGNAL, 5) == 5);
	CHECK(field_find(fields, HYPER_LOWER, &value) && field_find(value, HYPER_SERIAL, &value) && value.length == 4);
	CHECK(!field_find(fields, HYPER_UPPER, &value) && value.length == 4); /* left as it was */
	rest = fields;
	CHECK(field_each(&rest, HYPER_ARG, &value) && value.length == 3);
	CHECK(field_each(&rest, HYPER_ARG, &value) && value.length == 0);
	CHECK(!field_each(&rest, HYPER_ARG, &value) && rest.length == 0);
	/* Any cut makes it wrong. */
	char why[128];
	for (size_t length = 0; length < bytes.length; length++) {
		struct span cut = {bytes.data, length};
		CHECK(schema_check(schema_of(HYPER_OP_PROCESS_START), cut, why, sizeof why) != 0);
	}
	buffer_free(&bytes);
}

static int check(uint16_t operation, const struct buffer *bytes, const char *words)
{
	char why[128] = "";
	int wrong = schema_check(schema_of(operation), (struct span){bytes->data, bytes->length}, why, sizeof why);
	if (wrong && words && !strstr(why, words)) {
		(void)fprintf(stderr, "it says \"%s\", not \"%s\"\n", why, words);
		exit(1);
	}
	return wrong;
}

static void schemas_refuse_by_name(void)
{
	struct buffer bytes = {0};
	CHECK(schema_of(0) == NULL && schema_of(19) == NULL && schema_of(0xffff) == NULL);
	CHECK(check(HYPER_OP_SHUTDOWN, &bytes, NULL) == 0);
	CHECK(check(HYPER_OP_PROCESS_SIGNAL, &bytes, "field 17 is missing") != 0);
	field_u32(&bytes, HYPER_PROCESS, 1);
	field_u32(&bytes, HYPER_SIGNAL, 9);
	CHECK(check(HYPER_OP_PROCESS_SIGNAL, &bytes, NULL) == 0);
	CHECK(check(HYPER_OP_PROCESS_FORGET, &bytes, "field 118 is not known") != 0);
	field_u32(&bytes, HYPER_SIGNAL, 9);
	CHECK(check(HYPER_OP_PROCESS_SIGNAL, &bytes, "field 118 is given twice") != 0);
	buffer_free(&bytes);
	field_u64(&bytes, HYPER_PROCESS, 1);
	CHECK(check(HYPER_OP_PROCESS_FORGET, &bytes, "field 17 is not a u32") != 0);
	buffer_free(&bytes);
	field_bytes(&bytes, HYPER_CONTAINER, "a\0b", 3);
	CHECK(check(HYPER_OP_CONTAINER_DESTROY, &bytes, "field 16 has a NUL") != 0);
	buffer_free(&bytes);
	field_bytes(&bytes, HYPER_INTERFACE, "bad", 3);
	CHECK(check(HYPER_OP_CONFIGURE, &bytes, "3 bytes that are none") != 0);
	buffer_free(&bytes);
	field_text(&bytes, HYPER_HOSTNAME, "0123456789012345678901234567890123456789012345678901234567890123456789");
	CHECK(check(HYPER_OP_CONFIGURE, &bytes, "field 32 is too long") != 0);
	buffer_free(&bytes);
	CHECK(container_name_ok((struct span){(const uint8_t *)"a.b_C-9", 7}));
	CHECK(!container_name_ok((struct span){(const uint8_t *)"a/b", 3}));
	CHECK(!container_name_ok((struct span){(const uint8_t *)"", 0}));
}

static unsigned from_hex(const char *text, uint8_t *bytes, unsigned size)
{
	unsigned length = 0;
	for (unsigned byte; length < size && sscanf(text + 2 * length, "%2x", &byte) == 1; length++)
		bytes[length] = (uint8_t)byte;
	return length;
}

/* Each request with every field that the host can say, and with as few as it ever says. */
static void what_the_host_sends_is_taken(const char *messages)
{
	static char line[65536];
	static uint8_t bytes[sizeof line / 2];
	unsigned seen = 0;
	FILE *file = fopen(messages, "re");
	CHECK(file);
	while (fgets(line, sizeof line, file)) {
		const char *hex = strstr(line, ": ");
		if (strncmp(line, "request ", 8) != 0)
			continue;
		CHECK(hex);
		struct buffer fields = {.data = bytes + 8, .length = from_hex(hex + 2, bytes, sizeof bytes) - 8};
		uint16_t operation = (uint16_t)(bytes[4] | bytes[5] << 8);
		CHECK(schema_of(operation));
		CHECK(check(operation, &fields, "that all is right") == 0);
		seen++;
	}
	CHECK(fclose(file) == 0 && seen == 2 * HYPER_OP_VOLUME_FREEZE);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	RUN(frames_come_in_any_pieces);
	RUN(frames_come_between_parts_of_a_message);
	RUN(a_cut_session_is_followed_by_another);
	RUN(a_new_mark_begins_a_new_session);
	RUN(what_is_no_frame_ends_the_session);
	RUN(a_message_has_a_limit);
	RUN(hello_names_its_session);
	RUN(fields_come_back);
	RUN(schemas_refuse_by_name);
	what_the_host_sends_is_taken(argv[1]);
	wire_reset(&reader);
	return 0;
}
