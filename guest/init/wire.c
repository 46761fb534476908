#include "wire.h"

#include <stdlib.h>
#include <string.h>

static bool buffer_reserve(struct buffer *buffer, size_t more)
{
	if (buffer->failed)
		return false;
	if (more <= buffer->capacity - buffer->length)
		return true;
	size_t capacity = buffer->capacity ? buffer->capacity : 256;
	while (capacity - buffer->length < more)
		capacity *= 2;
	uint8_t *data = realloc(buffer->data, capacity);
	if (!data) {
		buffer->failed = true;
		return false;
	}
	buffer->data = data;
	buffer->capacity = capacity;
	return true;
}

void buffer_put(struct buffer *buffer, const void *data, size_t length)
{
	if (length == 0 || !buffer_reserve(buffer, length))
		return;
	memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
}

static void put_le(uint8_t *to, uint64_t value, size_t width)
{
	for (size_t i = 0; i < width; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *from, size_t width)
{
	uint64_t value = 0;
	for (size_t i = width; i-- > 0;)
		value = value << 8 | from[i];
	return value;
}

static void buffer_le(struct buffer *buffer, uint64_t value, size_t width)
{
	uint8_t bytes[8];
	put_le(bytes, value, width);
	buffer_put(buffer, bytes, width);
}

void buffer_u16(struct buffer *buffer, uint16_t value)
{
	buffer_le(buffer, value, 2);
}

void buffer_u32(struct buffer *buffer, uint32_t value)
{
	buffer_le(buffer, value, 4);
}

void buffer_u64(struct buffer *buffer, uint64_t value)
{
	buffer_le(buffer, value, 8);
}

void buffer_drop(struct buffer *buffer, size_t length)
{
	if (length == 0)
		return;
	memmove(buffer->data, buffer->data + length, buffer->length - length);
	buffer->length -= length;
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){0};
}

uint32_t get_u32(const uint8_t *data)
{
	return (uint32_t)get_le(data, 4);
}

uint64_t get_u64(const uint8_t *data)
{
	return get_le(data, 8);
}

/* ---- fields ---- */

size_t field_begin(struct buffer *buffer, uint16_t tag)
{
	buffer_u16(buffer, tag);
	buffer_u16(buffer, 0);
	buffer_u32(buffer, 0);
	return buffer->length;
}

void field_end(struct buffer *buffer, size_t begun)
{
	if (!buffer->failed)
		put_le(buffer->data + begun - 4, buffer->length - begun, 4);
}

void field_bytes(struct buffer *buffer, uint16_t tag, const void *data, size_t length)
{
	size_t begun = field_begin(buffer, tag);
	buffer_put(buffer, data, length);
	field_end(buffer, begun);
}

void field_text(struct buffer *buffer, uint16_t tag, const char *text)
{
	field_bytes(buffer, tag, text, strlen(text));
}

void field_u32(struct buffer *buffer, uint16_t tag, uint32_t value)
{
	uint8_t bytes[4];
	put_le(bytes, value, 4);
	field_bytes(buffer, tag, bytes, 4);
}

void field_u64(struct buffer *buffer, uint16_t tag, uint64_t value)
{
	uint8_t bytes[8];
	put_le(bytes, value, 8);
	field_bytes(buffer, tag, bytes, 8);
}

bool field_next(struct span *rest, uint16_t *tag, struct span *value)
{
	if (rest->length < HYPER_FIELD_HEADER)
		return false;
	size_t length = get_u32(rest->data + 4);
	if (get_le(rest->data + 2, 2) != 0 || length > rest->length - HYPER_FIELD_HEADER)
		return false;
	*tag = (uint16_t)get_le(rest->data, 2);
	*value = (struct span){rest->data + HYPER_FIELD_HEADER, length};
	rest->data += HYPER_FIELD_HEADER + length;
	rest->length -= HYPER_FIELD_HEADER + length;
	return true;
}

bool field_each(struct span *rest, uint16_t tag, struct span *value)
{
	struct span found;
	uint16_t found_tag;
	while (field_next(rest, &found_tag, &found)) {
		if (found_tag == tag) {
			*value = found;
			return true;
		}
	}
	return false;
}

bool field_find(struct span fields, uint16_t tag, struct span *value)
{
	return field_each(&fields, tag, value);
}

uint32_t find_u32(struct span fields, uint16_t tag, uint32_t missing)
{
	struct span value;
	return field_find(fields, tag, &value) && value.length == 4 ? get_u32(value.data) : missing;
}

uint64_t find_u64(struct span fields, uint16_t tag, uint64_t missing)
{
	struct span value;
	return field_find(fields, tag, &value) && value.length == 8 ? get_u64(value.data) : missing;
}

bool find_flag(struct span fields, uint16_t tag)
{
	return find_u32(fields, tag, 0) != 0;
}

/* ---- frames out ---- */

void frame_begin(struct buffer *out, uint8_t type, uint8_t flags, uint32_t stream, uint32_t session, size_t length)
{
	uint8_t header[HYPER_FRAME_HEADER];
	/* All or nothing: half a frame would end the session. */
	if (!buffer_reserve(out, sizeof header + length + HYPER_FRAME_TRAILER))
		return;
	put_le(header, length, 4);
	put_le(header + 4, type, 2);
	put_le(header + 6, flags, 2);
	put_le(header + 8, stream, 4);
	put_le(header + 12, session, 4);
	buffer_put(out, header, sizeof header);
}

void frame_put(struct buffer *out, uint8_t type, uint8_t flags, uint32_t stream, uint32_t session, const void *payload,
               size_t length)
{
	frame_begin(out, type, flags, stream, session, length);
	buffer_put(out, payload, length);
	buffer_u32(out, session);
}

void message_put(struct buffer *out, uint8_t type, uint32_t session, const struct buffer *payload)
{
	size_t done = 0;
	do {
		size_t length = payload->length - done;
		bool more = length > HYPER_FRAME_MAX;
		if (more)
			length = HYPER_FRAME_MAX;
		frame_put(out, type, more ? HYPER_FLAG_MORE : 0, 0, session, payload->data ? payload->data + done : NULL, length);
		done += length;
	} while (done < payload->length);
}

/* ---- frames in ---- */

void wire_lose(struct wire_reader *reader)
{
	reader->synced = false;
	reader->session = 0;
	reader->message_type = 0;
	buffer_free(&reader->message);
	reader->message_done = false;
}

void wire_reset(struct wire_reader *reader)
{
	wire_lose(reader);
	reader->start = reader->end = 0;
}

size_t wire_room(struct wire_reader *reader, uint8_t **where)
{
	if (reader->start > 0) {
		memmove(reader->bytes, reader->bytes + reader->start, reader->end - reader->start);
		reader->end -= reader->start;
		reader->start = 0;
	}
	*where = reader->bytes + reader->end;
	return sizeof reader->bytes - reader->end;
}

void wire_filled(struct wire_reader *reader, size_t length)
{
	reader->end += length;
}

/* Drops bytes up to and with the next SYNC mark, or all but what may be the beginning of one. */
static bool hunt(struct wire_reader *reader)
{
	static const uint8_t mark[] = HYPER_SYNC;
	while (reader->end - reader->start >= HYPER_SYNC_BYTES) {
		const uint8_t *at = reader->bytes + reader->start;
		if (memcmp(at, mark, HYPER_SYNC_BYTES) == 0) {
			reader->start += HYPER_SYNC_BYTES;
			return true;
		}
		size_t left = reader->end - reader->start - 1;
		const uint8_t *next = memchr(at + 1, mark[0], left);
		reader->start = next ? (size_t)(next - reader->bytes) : reader->end;
	}
	return false;
}

static bool is_message(uint8_t type)
{
	return type <= HYPER_EVENT;
}

/* Whether the header at `at` can be one, of this session (or the HELLO of a new one). */
static bool header_ok(const struct wire_reader *reader, const uint8_t *at)
{
	uint64_t type = get_le(at + 4, 2), flags = get_le(at + 6, 2);
	uint32_t stream = get_u32(at + 8), session = get_u32(at + 12);
	if (get_u32(at) > HYPER_FRAME_MAX || type < HYPER_HELLO || type > HYPER_PONG || session == 0)
		return false;
	if (flags & ~(uint64_t)HYPER_FLAG_MORE || (flags && !is_message((uint8_t)type)))
		return false;
	if (is_message((uint8_t)type) ? stream != 0 : reader->session == 0)
		return false;
	if (reader->session == 0) /* nothing but the session's HELLO */
		return type == HYPER_HELLO && (reader->message_type == 0 || session == reader->message_session);
	if (session != reader->session || type == HYPER_HELLO)
		return false;
	/* No other message comes between the parts of one. */
	return reader->message_type == 0 || !is_message((uint8_t)type) || type == reader->message_type;
}

static struct wire_event lost(struct wire_reader *reader)
{
	bool had_session = reader->session != 0;
	wire_lose(reader);
	return (struct wire_event){.kind = had_session ? WIRE_LOST : WIRE_NOTHING};
}

static bool hello_ok(struct wire_reader *reader)
{
	const struct buffer *message = &reader->message;
	if (message->length < 8 || get_u32(message->data + 4) != reader->message_session)
		return false;
	reader->session = reader->message_session;
	return true;
}

/* Takes one part of a message; the event is NOTHING while more parts are to come. */
static struct wire_event take_message(struct wire_reader *reader, uint8_t type, bool more, struct span payload)
{
	if (reader->message.length + payload.length > HYPER_MESSAGE_MAX)
		return lost(reader);
	buffer_put(&reader->message, payload.data, payload.length);
	reader->message_type = type;
	if (reader->message.failed)
		return lost(reader);
	if (more)
		return (struct wire_event){.kind = WIRE_NOTHING};
	if (type == HYPER_HELLO && !hello_ok(reader))
		return lost(reader);
	reader->message_type = 0;
	reader->message_done = true;
	return (struct wire_event){.kind = WIRE_MESSAGE, .type = type, .data = {reader->message.data, reader->message.length}};
}

/* One step: false when more bytes are needed. */
static bool step(struct wire_reader *reader, struct wire_event *event)
{
	*event = (struct wire_event){.kind = WIRE_NOTHING};
	if (!reader->synced) {
		if (!hunt(reader))
			return false;
		reader->synced = true;
	}
	const uint8_t *at = reader->bytes + reader->start;
	size_t have = reader->end - reader->start;
	if (have < HYPER_FRAME_HEADER)
		return false;
	if (!header_ok(reader, at)) {
		*event = lost(reader);
		return true;
	}
	size_t length = get_u32(at);
	if (have < HYPER_FRAME_HEADER + length + HYPER_FRAME_TRAILER)
		return false;
	/* A bad trailer: the mark is looked for in what seemed to be the frame too. */
	if (get_u32(at + HYPER_FRAME_HEADER + length) != get_u32(at + 12)) {
		*event = lost(reader);
		return true;
	}
	reader->start += HYPER_FRAME_HEADER + length + HYPER_FRAME_TRAILER;
	struct span payload = {at + HYPER_FRAME_HEADER, length};
	uint8_t type = at[4];
	if (is_message(type)) {
		reader->message_session = get_u32(at + 12);
		*event = take_message(reader, type, at[6] & HYPER_FLAG_MORE, payload);
	} else {
		*event = (struct wire_event){WIRE_FRAME, type, get_u32(at + 8), payload};
	}
	return true;
}

struct wire_event wire_next(struct wire_reader *reader)
{
	struct wire_event event;
	if (reader->message_done) {
		buffer_free(&reader->message);
		reader->message_done = false;
	}
	while (step(reader, &event)) {
		if (event.kind != WIRE_NOTHING)
			return event;
	}
	return (struct wire_event){.kind = WIRE_NOTHING};
}
