/*
 * The wire contract's bytes, without any I/O: bytes in, events out; values in, bytes out.
 *
 * Invariants: a reader never holds more than one frame and one message (HYPER_MESSAGE_MAX); it reports a frame only
 * after its trailer has been checked; whatever comes in, it goes on at the next SYNC mark.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../include/hyper_wire.h"

struct span {
	const uint8_t *data;
	size_t length;
};

/* A growing byte string; `failed` once memory was short, and from then on it takes nothing. */
struct buffer {
	uint8_t *data;
	size_t length;
	size_t capacity;
	bool failed;
};

void buffer_put(struct buffer *buffer, const void *data, size_t length);
void buffer_u16(struct buffer *buffer, uint16_t value);
void buffer_u32(struct buffer *buffer, uint32_t value);
void buffer_u64(struct buffer *buffer, uint64_t value);
void buffer_drop(struct buffer *buffer, size_t length); /* from the front */
void buffer_free(struct buffer *buffer);

void field_bytes(struct buffer *buffer, uint16_t tag, const void *data, size_t length);
void field_text(struct buffer *buffer, uint16_t tag, const char *text);
void field_u32(struct buffer *buffer, uint16_t tag, uint32_t value);
void field_u64(struct buffer *buffer, uint16_t tag, uint64_t value);
size_t field_begin(struct buffer *buffer, uint16_t tag);
void field_end(struct buffer *buffer, size_t begun);

uint32_t get_u32(const uint8_t *data);
uint64_t get_u64(const uint8_t *data);

/* Takes the next field off `rest`; false at the end, and where the bytes are no field (then `rest` is not empty). */
bool field_next(struct span *rest, uint16_t *tag, struct span *value);

/* The next with this tag, the first with it; `value` stays as it is where there is none. */
bool field_each(struct span *rest, uint16_t tag, struct span *value);
bool field_find(struct span fields, uint16_t tag, struct span *value);
uint32_t find_u32(struct span fields, uint16_t tag, uint32_t missing);
uint64_t find_u64(struct span fields, uint16_t tag, uint64_t missing);
bool find_flag(struct span fields, uint16_t tag);

/* The header; exactly `length` bytes and the trailer (the session again) are for the caller to put. */
void frame_begin(struct buffer *out, uint8_t type, uint8_t flags, uint32_t stream, uint32_t session, size_t length);
void frame_put(struct buffer *out, uint8_t type, uint8_t flags, uint32_t stream, uint32_t session, const void *payload,
               size_t length);
void message_put(struct buffer *out, uint8_t type, uint32_t session, const struct buffer *payload);

enum wire_event_kind {
	WIRE_NOTHING, /* needs more bytes */
	WIRE_FRAME,   /* of a stream, or PING, PONG */
	WIRE_MESSAGE, /* HELLO (the session has begun) or a whole REQUEST, ... */
	WIRE_LOST,    /* what came is no frame: the session is over */
};

/* `data` is valid until the next call. */
struct wire_event {
	enum wire_event_kind kind;
	uint8_t type;
	uint32_t stream;
	struct span data;
};

struct wire_reader {
	uint8_t bytes[2 * HYPER_PADDING];
	size_t start, end;
	bool synced;      /* frames follow, not garbage */
	uint32_t session; /* 0: none yet, only a HELLO is taken */
	uint8_t message_type; /* 0: no message has begun */
	uint32_t message_session;
	struct buffer message;
	bool message_done;
};

void wire_reset(struct wire_reader *reader);

/* The session is over; the next one may be in what has been read already. */
void wire_lose(struct wire_reader *reader);
size_t wire_room(struct wire_reader *reader, uint8_t **where);
void wire_filled(struct wire_reader *reader, size_t length);
struct wire_event wire_next(struct wire_reader *reader);

#endif
