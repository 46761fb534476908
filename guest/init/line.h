/*
 * The guest's end of a line that loses, changes and invents bytes, made a reliable byte pipe: bytes in, bytes out, the
 * clock handed in (nanoseconds).  How it works: docs/wire-protocol.md; the host's end is hypervisor/line.py.
 *
 * Invariants: no more than LINE_WINDOW frames are kept in each direction; whatever comes in, the next whole frame is
 * found; of an older session nothing is taken and nothing is sent.
 */
#ifndef LINE_H
#define LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../include/hyper_line.h"

#define LINE_FRAME_MAX (LINE_HEADER_BYTES + LINE_PAYLOAD_MAX + LINE_CHECKSUM_BYTES)

struct line_sent {
	size_t length;
	uint8_t bytes[LINE_PAYLOAD_MAX];
};

struct line {
	uint32_t session; /* 0: none */
	unsigned replies; /* a bit for each kind that is to be said */
	uint32_t strange; /* the session that RESET names */

	/* Out: `flight` frames from number `first` on are not acknowledged, `written` of them on their way. */
	struct line_sent sent[LINE_WINDOW];
	uint32_t first;
	unsigned flight, written;
	unsigned window, room; /* what we allow ourselves, and the host */
	int64_t retry_ns, retry_at; /* 0: not waiting for an acknowledgement */
	unsigned retries;
	uint32_t timed; /* a frame that was sent once, at `timed_at`; 0: none */
	int64_t timed_at;

	/* In. */
	uint8_t arrived[LINE_WINDOW * LINE_PAYLOAD_MAX];
	size_t arrived_at, arrived_length;
	uint32_t expected;
	bool missed;    /* AGAIN has been said for `expected` */
	uint32_t ahead; /* by so much, what came last was too early */
	unsigned told_room;

	uint8_t bytes[2 * LINE_FRAME_MAX]; /* not yet taken apart */
	size_t length;
};

/* Nothing is open; the host is told that somebody listens. */
void line_begin(struct line *line);

void line_receive(struct line *line, const uint8_t *data, size_t length, int64_t now);

/* What has come in order: some of it, and that so much of it was taken. */
size_t line_arrived(const struct line *line, const uint8_t **data);
void line_taken(struct line *line, size_t length);

/* Where the next payload goes, LINE_PAYLOAD_MAX bytes, or NULL while no more may wait; and how long it became. */
uint8_t *line_payload(struct line *line);
void line_send(struct line *line, size_t length);

/* Whole frames that are to be written now, into at least LINE_FRAME_MAX bytes; 0: there is nothing. */
size_t line_output(struct line *line, uint8_t *out, size_t size, int64_t now);

/* When line_output has something without anything coming in; INT64_MAX: never. */
int64_t line_deadline(const struct line *line);

/* Whether all that was sent has arrived, or nobody is there for it. */
bool line_idle(const struct line *line);

uint32_t line_checksum(const uint8_t *data, size_t length);

#endif
