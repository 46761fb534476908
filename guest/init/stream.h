/*
 * One of a process's standard streams: a ring of bytes between a pipe (or terminal) and the session.
 *
 * Output: acked <= sent <= end <= acked + OUTPUT_RING.  Bytes leave the ring when the host has acknowledged them, and
 * the pipe is read only while there is room: a host that is slow or away makes the process wait, nothing else.
 * Input:  acked <= end <= limit = acked + INPUT_RING.  `acked` counts what the process's pipe took, `end` what came.
 *
 * Streams that have a frame to send stand in one queue, and each sends one frame in its turn.
 */
#ifndef STREAM_H
#define STREAM_H

#include "loop.h"
#include "wire.h"

#define OUTPUT_RING ((size_t)HYPER_OUTPUT_WINDOW)
#define INPUT_RING ((size_t)HYPER_INPUT_WINDOW)

struct stream {
	uint32_t number;
	bool input;
	bool terminal;
	struct watch watch;
	uint8_t *ring; /* mapped when the first byte comes; not inherited by children */
	uint64_t acked, sent, end, limit;
	bool eof;      /* output: the source has ended; input: the host said so */
	bool eof_sent; /* in this session */
	bool ended;    /* output: nobody has the source open any more */
	bool credited; /* output: the host gave credit in this session */
	bool dropped;  /* nobody wants it: output is read and dropped, input is refused */
	bool reset_due;
	uint64_t told_acked, told_limit; /* input: the last CREDIT */
	int64_t last;  /* output of an exited process: so many bytes are still to be read; -1: it runs */
	bool queued;
	struct stream *next;
};

void stream_init(struct stream *stream, uint32_t number);

/* Takes the descriptor over (non-blocking). */
void stream_attach(struct stream *stream, int fd, bool terminal);

/*
 * The process has exited: output takes what the pipe holds and ends; input is refused from now on.  What its children
 * write into the pipe after that is read and dropped.
 */
void stream_finish(struct stream *stream);
void stream_free(struct stream *stream);

/* All of a session's state goes; what was not acknowledged will be sent again. */
void stream_new_session(struct stream *stream);

/* Output.  0, or -1: the CREDIT is against the contract. */
int stream_credit(struct stream *stream, uint64_t acknowledged, uint64_t limit);
void stream_drop(struct stream *stream);

/* Input.  0, or -1: more than the limit allowed. */
int stream_accept(struct stream *stream, struct span data);
void stream_accept_eof(struct stream *stream);

/* Appends frames, one of each stream in turn, until `out` has `enough` bytes or nothing is left to send. */
void streams_send(struct buffer *out, uint32_t session, size_t enough);
bool streams_waiting(void);
void streams_new_session(void);

#endif
